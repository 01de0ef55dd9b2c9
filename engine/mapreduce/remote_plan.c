/* Owns the description of a job that travels to other processes of the same program.
 *
 * 1. Offsets in a plan are from its beginning; 0 stands for nothing, as the head is there.
 * 2. A plan is not changed once it has been written: workers map it without a copy. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"
#include "mapreduce/remote.h"

/* Where a function is: in which library, and how far from where that was loaded. */
struct code {
	uint64_t library; /* offset of its path; of "": the program's */
	int64_t offset;
	bool is_there;
	bool anchored; /* the program is static: `offset` is from a function of ours */
};

struct head {
	uint64_t id;
	uint64_t seed;	      /* of the hash that chooses partitions */
	struct wh_mr_job job; /* its pointers mean nothing */
	struct wh_mr_words words;
	struct code map, map_batch, combine, record, find, generate;
	uint64_t isa, arg, files; /* offsets */
};

struct plan {
	uint8_t *bytes;
	size_t len, room;
	int error;
};

/* Room for `len` bytes, aligned for anything. Returns their offset. */
static uint64_t reserve(struct plan *plan, size_t len)
{
	size_t at = (plan->len + 15) & ~(size_t)15;

	if (at + len > plan->room) {
		size_t room = (at + len) * 2;
		uint8_t *bytes = whi_realloc(plan->bytes, room);

		if (!bytes) {
			plan->error = -ENOMEM;
			return 0;
		}
		plan->bytes = bytes;
		plan->room = room;
	}
	memset(plan->bytes + plan->len, 0, at + len - plan->len);
	plan->len = at + len;
	return at;
}

static uint64_t put(struct plan *plan, const void *data, size_t len)
{
	uint64_t at = reserve(plan, len);

	if (len && !plan->error)
		memcpy(plan->bytes + at, data, len);
	return at;
}

static uint64_t put_text(struct plan *plan, const char *text)
{
	return put(plan, text, strlen(text) + 1);
}

typedef void (*any_fn)(void);

/* Any function of this library. */
static uintptr_t anchor(void)
{
	return (uintptr_t)whi_remote_plan;
}

static struct code find_code(struct plan *plan, any_fn fn)
{
	struct code code = { .is_there = fn != NULL };
	char absolute[PATH_MAX];
	struct link_map *map = NULL;
	const char *name;
	Dl_info info;

	if (!fn)
		return code;
	if (dladdr1((void *)(uintptr_t)fn, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || !map) {
		code.anchored = true;
		code.offset = (int64_t)((uintptr_t)fn - anchor());
		return code;
	}
	name = map->l_name;
	if (*name && realpath(name, absolute))
		name = absolute;
	code.library = put_text(plan, name);
	code.offset = (int64_t)((uintptr_t)fn - map->l_addr);
	return code;
}

static void put_files(struct plan *plan, const struct whi_input *input)
{
	uint64_t at = reserve(plan, input->file_count * sizeof(struct whi_remote_file));

	for (size_t i = 0; i < input->file_count && !plan->error; i++) {
		const struct whi_file *file = &input->files[i];
		struct whi_remote_file entry = { .size = file->size, .packed = file->packed };

		if (file->path)
			entry.path = put_text(plan, file->path);
		if (!plan->error)
			memcpy(plan->bytes + at + i * sizeof(entry), &entry, sizeof(entry));
	}
	if (!plan->error)
		((struct head *)(void *)plan->bytes)->files = at;
}

static void put_head(struct plan *plan, const struct whi_mapper_job *shared, uint64_t id)
{
	const struct wh_mr_job *job = shared->job;
	struct head head = { .id = id, .seed = whi_hash_seed(), .job = *job };

	reserve(plan, sizeof(head));
	if (job->words)
		head.words = *job->words;
	head.map = find_code(plan, (any_fn)job->map);
	head.map_batch = find_code(plan, (any_fn)job->map_batch);
	head.combine = find_code(plan, (any_fn)job->combine);
	head.record = find_code(plan, (any_fn)job->record);
	head.find = find_code(plan, (any_fn)job->find);
	head.generate = find_code(plan, (any_fn)job->generate);
	head.isa = put_text(plan, shared->kernel->name);
	if (job->arg && job->arg_bytes)
		head.arg = put(plan, job->arg, job->arg_bytes);
	if (!plan->error)
		memcpy(plan->bytes, &head, sizeof(head));
}

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

int whi_remote_plan(const struct whi_mapper_job *shared, const struct whi_input *input, uint64_t id)
{
	struct plan plan = { 0 };
	int fd = memfd_create("mapreduce", MFD_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	put_head(&plan, shared, id);
	put_files(&plan, input);
	r = plan.error;
	if (r == 0)
		r = write_all(fd, plan.bytes, plan.len);
	whi_free(plan.bytes);
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static const char *text_at(const struct whi_remote_job *remote, uint64_t offset)
{
	return (const char *)remote->bytes + offset;
}

/* Returns the function's address, 0 if there is none or its library cannot be loaded. */
static uintptr_t load_code(const struct whi_remote_job *remote, const struct code *code, int *error)
{
	struct link_map *map = NULL;
	const char *library;
	void *handle;

	if (!code->is_there)
		return 0;
	if (code->anchored)
		return anchor() + (uintptr_t)code->offset;
	library = text_at(remote, code->library);
	/* Never closed: what it has is in use as long as the process lives. */
	handle = dlopen(*library ? library : NULL, RTLD_NOW | RTLD_LOCAL);
	if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map) < 0) {
		*error = -ELIBACC;
		return 0;
	}
	return map->l_addr + (uintptr_t)code->offset;
}

static int load_functions(struct whi_remote_job *remote, const struct head *head)
{
	struct wh_mr_job *job = &remote->job;
	int error = 0;

	job->map = (wh_mr_map_fn)load_code(remote, &head->map, &error);
	job->map_batch = (wh_mr_map_batch_fn)load_code(remote, &head->map_batch, &error);
	job->combine = (wh_mr_reduce_fn)load_code(remote, &head->combine, &error);
	job->record = (wh_mr_record_fn)load_code(remote, &head->record, &error);
	job->find = (wh_mr_find_fn)load_code(remote, &head->find, &error);
	job->generate = (wh_mr_generate_fn)load_code(remote, &head->generate, &error);
	return error;
}

/* The options that say how to map; pointers only where they are good here. */
static int load_job(struct whi_remote_job *remote, const struct head *head)
{
	const struct wh_mr_job *from = &head->job;

	whi_hash_adopt(head->seed);
	remote->id = head->id;
	remote->isa = text_at(remote, head->isa);
	remote->files = (const void *)(remote->bytes + head->files);
	remote->words = head->words;
	remote->job = (struct wh_mr_job){
		.generate_count = from->generate_count,
		.records = from->records,
		.words = from->words ? &remote->words : NULL,
		.record_bytes = from->record_bytes,
		.short_records = from->short_records,
		.value = from->value,
		.exact = from->exact,
		.record_max = from->record_max,
		.no_decompress = from->no_decompress,
		.explain = from->explain,
		.ngram_version = from->ngram_version,
		.ngram_key = from->ngram_key,
		.bypass = from->bypass,
		.skip_bad = from->skip_bad,
	};
	if (head->arg) {
		remote->job.arg = whi_alloc(from->arg_bytes);
		if (!remote->job.arg)
			return -ENOMEM;
		memcpy(remote->job.arg, remote->bytes + head->arg, from->arg_bytes);
	}
	return load_functions(remote, head);
}

int whi_remote_open(struct whi_remote_job *remote, int fd)
{
	struct stat st;
	void *bytes;
	int r;

	*remote = (struct whi_remote_job){ 0 };
	if (fstat(fd, &st) < 0)
		return -errno;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	remote->bytes = bytes;
	remote->len = (size_t)st.st_size;
	r = load_job(remote, bytes);
	if (r < 0)
		whi_remote_close(remote);
	return r;
}

void whi_remote_close(struct whi_remote_job *remote)
{
	if (!remote->bytes)
		return;
	whi_free(remote->job.arg);
	munmap((void *)(uintptr_t)remote->bytes, remote->len);
	*remote = (struct whi_remote_job){ 0 };
}
