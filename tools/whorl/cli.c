/* What the subcommands share. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <whorl/mapreduce.h>
#include <whorl/run.h>

enum { NAME_LEN_MAX = 32, OPTIONS_MAX = 32 };

void cli_error(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	va_start(args, format);
	fputs("whorl: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

/* Levenshtein's distance, one row at a time. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_LEN_MAX + 1];
	size_t len = strlen(b);

	if (len > NAME_LEN_MAX || strlen(a) > NAME_LEN_MAX)
		return NAME_LEN_MAX;
	for (unsigned j = 0; j <= len; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1]; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= len; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);
			unsigned best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diagonal = row[j];
			row[j] = change < best ? change : best;
		}
	}
	return row[len];
}

void cli_damage(const char *command, const struct wh_mr_damage *damage)
{
	const char *path = strcmp(damage->path, "-") == 0 ? "standard input" : damage->path;
	const char *format = damage->format;
	const unsigned long long at = damage->at;

	switch (damage->kind) {
	case WH_MR_DAMAGED:
		cli_error("%s: cannot read %s: the %s data are damaged at byte %llu; what came "
			  "before was counted",
			  command, path, format, at);
		return;
	case WH_MR_TRUNCATED:
		cli_error("%s: cannot read %s: the %s data end too early, at byte %llu; what came "
			  "before was counted",
			  command, path, format, at);
		return;
	case WH_MR_TRAILING:
		cli_error("%s: cannot read %s: what follows the %s data from byte %llu on is not "
			  "compressed; what came before was counted",
			  command, path, format, at);
		return;
	case WH_MR_WINDOW:
		cli_error("%s: cannot read %s: decoding the %s data from byte %llu on takes more "
			  "than 128 MiB; what came before was counted (decompress it first)",
			  command, path, format, at);
		return;
	case WH_MR_RECORD:
		cli_error("%s: cannot read %s: the %s data up to byte %llu hold a word longer "
			  "than 64 MiB; what came before was counted (decompress it first)",
			  command, path, format, at);
		return;
	}
}

const char *cli_nearest(const char *word, const char *const *names)
{
	const char *best = NULL;
	unsigned best_distance = (unsigned)strlen(word) / 3 + 2;

	for (; *names; names++) {
		unsigned d = distance(word, *names);

		if (d < best_distance) {
			best_distance = d;
			best = *names;
		}
	}
	return best;
}

static int unknown_option(const char *command, const char *word, const struct cli_option *options)
{
	const char *names[OPTIONS_MAX + 2] = { "--help" };
	const char *nearest;

	for (unsigned i = 0; i < OPTIONS_MAX && options[i].name; i++)
		names[i + 1] = options[i].name;
	nearest = cli_nearest(word, names);
	if (nearest)
		cli_error("%s: unknown option '%s'; did you mean '%s'?", command, word, nearest);
	else
		cli_error("%s: unknown option '%s'; see whorl %s --help", command, word, command);
	return EXIT_USAGE;
}

static int parse_number(const char *command, const struct cli_option *option, const char *value)
{
	static const char suffixes[] = "kMG";
	const char *suffix;
	char *end;
	uint64_t number;

	errno = 0;
	number = strtoull(value, &end, 10);
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (suffix) {
		end++;
		for (long i = 0; i <= suffix - suffixes; i++)
			if (__builtin_mul_overflow(number, 1000, &number))
				errno = ERANGE;
	}
	if (*value < '0' || *value > '9' || *end || errno || number < option->min ||
	    number > option->max) {
		cli_error("%s: %s takes a number from %llu to %llu, not '%s'", command,
			  option->name, (unsigned long long)option->min,
			  (unsigned long long)option->max, value);
		return EXIT_USAGE;
	}
	*option->number = number;
	return 0;
}

static int parse_seconds(const char *command, const struct cli_option *option, const char *value)
{
	char *end;
	double seconds = strtod(value, &end);

	if (strcmp(end, "ms") == 0)
		seconds /= 1000;
	else if (*end && strcmp(end, "s") != 0)
		seconds = -1;
	if (end == value || !(seconds > 0 && seconds < 1e9)) {
		cli_error("%s: %s takes a time such as 5, 0.5 or 200ms, not '%s'", command,
			  option->name, value);
		return EXIT_USAGE;
	}
	*option->seconds = seconds;
	return 0;
}

static int set_value(const char *command, const struct cli_option *option, const char *value)
{
	if (!value) {
		cli_error("%s: %s needs a value", command, option->name);
		return EXIT_USAGE;
	}
	if (option->number)
		return parse_number(command, option, value);
	if (option->seconds)
		return parse_seconds(command, option, value);
	*option->text = value;
	return 0;
}

static const struct cli_option *find(const struct cli_option *options, const char *word, size_t len)
{
	for (; options->name; options++)
		if (strlen(options->name) == len && memcmp(options->name, word, len) == 0)
			return options;
	return NULL;
}

/* One option at argv[*i], in the form `--name value` or `--name=value`. */
static int parse_option(char **argv, int *i, const struct cli_option *options)
{
	const char *word = argv[*i], *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) : strlen(word);
	const struct cli_option *option = find(options, word, len);

	if (!option)
		return unknown_option(argv[0], word, options);
	if (!option->flag)
		return set_value(argv[0], option, equals ? equals + 1 : argv[++*i]);
	if (equals) {
		cli_error("%s: %s takes no value", argv[0], option->name);
		return EXIT_USAGE;
	}
	*option->flag = true;
	return 0;
}

int cli_parse(int argc, char **argv, const struct cli_option *options, int *ret_operands)
{
	bool only_operands = false;
	int operands = 0;

	for (int i = 1; i < argc && argv[i]; i++) {
		const char *word = argv[i];
		int r;

		if (only_operands || word[0] != '-' || word[1] == '\0') {
			argv[++operands] = argv[i];
			continue;
		}
		if (strcmp(word, "--") == 0) {
			only_operands = true;
			continue;
		}
		if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
			return -1;
		r = parse_option(argv, &i, options);
		if (r != 0)
			return r;
	}
	*ret_operands = operands;
	return 0;
}

struct start {
	wh_task_fn fn;
	void *arg;
};

static int say_fallback(void *arg)
{
	const struct start *start = arg;
	struct wh_backend_choice choice;

	wh_backend_why(&choice);
	if (choice.fallback)
		cli_error("%s instead of io_uring: %s; %s", choice.name, choice.why, choice.cure);
	return start->fn(start->arg);
}

int cli_run(wh_task_fn fn, void *arg, const struct wh_run_opts *opts, int *ret_result)
{
	struct start start = { fn, arg };

	return wh_run(say_fallback, &start, opts, ret_result);
}

int cli_run_failed(int err)
{
	cli_error("cannot start the engine: %s: %s", strerror(-err), wh_run_advice(err));
	return err == -EINVAL ? EXIT_USAGE : EXIT_MACHINE;
}

bool cli_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	fprintf(stderr, "whorl: cannot write the output: %s\n", strerror(errno));
	return false;
}

uint64_t cli_raise_open_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			getrlimit(RLIMIT_NOFILE, &limit);
	}
	return limit.rlim_cur;
}
