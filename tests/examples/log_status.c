/*
 * log_status FILE...: how often web servers answered with each status, as a histogram. Lines are in
 * the common log format, `host ident user [time] "request" status bytes`, with anything behind.
 *
 * Keys are few: rows are kept until the widest bar is known.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "examples/program.h"

enum { STATUS_DIGITS = 3, STATUSES = 1000, BAR_CELLS = 50 };

static uint64_t counts[STATUSES]; /* [0]: lines that have none */

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

/* The request may hold anything, quotes too if they follow a backslash. */
static const char *find_status(const char *at, const char *end)
{
	const char *quote = memchr(at, '"', (size_t)(end - at));

	while (quote && ++quote < end && *quote != '"')
		quote += *quote == '\\';
	if (!quote || end - quote < STATUS_DIGITS + 2 || quote[1] != ' ')
		return NULL;
	for (int i = 2; i < STATUS_DIGITS + 2; i++)
		if (!is_digit(quote[i]))
			return NULL;
	return quote + 2;
}

static int map(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	const char *status = find_status(line.data, (const char *)line.data + line.len);

	(void)arg;
	return wh_mr_emit_number(emitter, status ? status : "000", STATUS_DIGITS, 1);
}

static int keep(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	for (size_t i = 0; i < count; i++) {
		const char *digits = rows[i].key.data;

		counts[(digits[0] - '0') * 100 + (digits[1] - '0') * 10 + digits[2] - '0'] =
			rows[i].number;
	}
	return 0;
}

static void print_histogram(void)
{
	uint64_t most = 1;

	for (int status = 0; status < STATUSES; status++)
		most = counts[status] > most ? counts[status] : most;
	for (int status = 0; status < STATUSES; status++) {
		int cells = (int)((double)counts[status] / (double)most * BAR_CELLS);

		if (counts[status] && status)
			printf("%03d\t%" PRIu64 "\t", status, counts[status]);
		else if (counts[status])
			printf("none\t%" PRIu64 "\t", counts[status]);
		else
			continue;
		for (int cell = 0; cell < cells; cell++)
			putchar('#');
		putchar('\n');
	}
}

int main(int argc, char **argv)
{
	struct wh_mr_job job = {
		.records = WH_MR_LINES,
		.value = WH_MR_COUNT,
		.map = map,
		.output = keep,
	};
	int status;

	if (argc < 2) {
		fprintf(stderr, "usage: log_status FILE...\n");
		return 2;
	}
	status = run_program("log_status", &job, argv + 1);
	print_histogram();
	return fflush(stdout) == 0 ? status : 1;
}
