// What the headers inline, in C++: a job with a map of its own, which counts letters of its words.
#include <cstdio>
#include <cstring>

#include <whorl/whorl.h>

namespace
{

const char text[] = "whorl is for C and for C++";
uint64_t letters;

ssize_t generate(void *, uint64_t, void *data, size_t room)
{
	if (room < sizeof(text) - 1)
		return -1;
	std::memcpy(data, text, sizeof(text) - 1);
	return sizeof(text) - 1;
}

int map(void *, wh_mr_bytes word, wh_mr_emitter *emitter)
{
	return wh_mr_emit_number(emitter, word.data, word.len, word.len);
}

int add(void *, const wh_mr_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		letters += rows[i].number;
	return 0;
}

int root(void *)
{
	wh_mr_job job = wh_mr_job();

	job.generate = generate;
	job.generate_count = 3;
	job.map = map;
	job.output = add;
	return wh_mapreduce(&job, nullptr);
}

} // namespace

int main()
{
	int result = -1;
	int r = wh_run(root, nullptr, nullptr, &result);

	if (r < 0) {
		std::fprintf(stderr, "consumer: %s\n", wh_run_advice(r));
		return 1;
	}
	return result == 0 && letters == 3 * 20 ? 0 : 1;
}
