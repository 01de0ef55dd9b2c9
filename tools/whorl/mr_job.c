/* Owns what is known of each job: its name and options in a plan, what its map does, and the order
 * of its rows. */
#include "mr.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What only some jobs have as an option. */
enum { FOR_WORDCOUNT = 1u << MR_WORDCOUNT, FOR_NGRAM = 1u << MR_NGRAM, FOR_ALL = ~0u };

static const char *const names[MR_JOB_KINDS + 1] = { "wordcount", "ngram" };

/* The jobs that the options, in the order of mr_job_options, are for. */
static const unsigned jobs_of[MR_JOB_OPTIONS] = {
	FOR_ALL,       FOR_ALL,	  FOR_ALL,   FOR_WORDCOUNT, FOR_WORDCOUNT,
	FOR_WORDCOUNT, FOR_NGRAM, FOR_NGRAM, FOR_NGRAM,
};

void mr_job_options(struct mr_job *job, struct cli_option *options)
{
	const struct cli_option all[MR_JOB_OPTIONS] = {
		{ .name = "--top", .number = &job->top, .min = 1, .max = UINT64_MAX },
		{ .name = "--min-count", .number = &job->min_count, .max = UINT64_MAX },
		{ .name = "--format", .text = &job->format_name },
		{ .name = "--words", .text = &job->words_text },
		{ .name = "--keep-case", .flag = &job->keep_case },
		{ .name = "--unicode", .flag = &job->unicode },
		{ .name = "--by", .text = &job->by },
		{ .name = "--version", .text = &job->version },
		{ .name = "--skip-bad", .flag = &job->skip_bad },
	};

	memcpy(options, all, sizeof(all));
}

static bool is_given(const struct cli_option *option)
{
	if (option->number)
		return *option->number != 0;
	return option->flag ? *option->flag : *option->text != NULL;
}

static bool find_kind(const char *name, enum mr_job_kind *ret)
{
	const char *nearest;

	for (unsigned kind = 0; kind < MR_JOB_KINDS; kind++)
		if (strcmp(names[kind], name) == 0) {
			*ret = (enum mr_job_kind)kind;
			return true;
		}
	nearest = cli_nearest(name, names);
	if (nearest)
		cli_error("mr: there is no job '%s'; did you mean '%s'?", name, nearest);
	else
		cli_error("mr: there is no job '%s'; see whorl mr --help", name);
	return false;
}

/* Which of `words` it is; the first one if it is NULL. -1: none. */
static int choose(const char *word, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!word || strcmp(word, words[i]) == 0)
			return i;
	return -1;
}

static int wrong(const struct mr_job *job, const char *option, const char *value)
{
	cli_error("mr: %s cannot be '%s'; see whorl %s --help", option, value, names[job->kind]);
	return EXIT_USAGE;
}

static int choose_texts(struct mr_job *job)
{
	static const char *const keys[] = { "ngram", "year", "both", NULL };
	static const char *const versions[] = { "auto", "2009", "2012", "2020", NULL };
	const char *words = job->words_text ? job->words_text : "control";
	int key = choose(job->by, keys), version = choose(job->version, versions);

	if (row_format_find(job->format_name ? job->format_name : "tsv", &job->format) < 0)
		return wrong(job, "--format", job->format_name);
	if (wh_mr_words_parse(words, &job->words) < 0)
		return wrong(job, "--words", words);
	if (key < 0)
		return wrong(job, "--by", job->by);
	if (version < 0)
		return wrong(job, "--version", job->version);
	job->words.keep_case = job->keep_case;
	job->words.unicode = job->unicode;
	job->ngram_key = (enum wh_mr_ngram_key)key;
	job->ngram_version = (enum wh_mr_ngram_version)version;
	return EXIT_DONE;
}

int mr_job_choose(struct mr_job *job, const char *name)
{
	struct cli_option options[MR_JOB_OPTIONS];

	if (!find_kind(name, &job->kind))
		return EXIT_USAGE;
	mr_job_options(job, options);
	for (unsigned i = 0; i < MR_JOB_OPTIONS; i++)
		if (is_given(&options[i]) && !(jobs_of[i] & 1u << job->kind)) {
			cli_error("mr: %s is no option of the job %s", options[i].name, name);
			return EXIT_USAGE;
		}
	return choose_texts(job);
}

/* As it would be on a command line. */
static char *option_arg(const struct cli_option *option)
{
	char *arg = NULL;
	int len;

	if (option->number)
		len = asprintf(&arg, "%s=%" PRIu64, option->name, *option->number);
	else if (option->flag)
		len = asprintf(&arg, "%s", option->name);
	else
		len = asprintf(&arg, "%s=%s", option->name, *option->text);
	return len < 0 ? NULL : arg;
}

size_t mr_job_args(const struct mr_job *job, char ***ret)
{
	struct mr_job copy = *job;
	struct cli_option options[MR_JOB_OPTIONS];
	char **args = calloc(MR_JOB_OPTIONS + 2, sizeof(*args));
	size_t count = 0;

	if (!args)
		return 0;
	*ret = args;
	mr_job_options(&copy, options);
	args[count++] = strdup(names[job->kind]);
	for (unsigned i = 0; i < MR_JOB_OPTIONS; i++)
		if (is_given(&options[i]))
			args[count++] = option_arg(&options[i]);
	for (size_t i = 0; i < count; i++)
		if (!args[i])
			return 0;
	return count;
}

int mr_job_parse(char **args, size_t count, struct mr_job *ret)
{
	struct cli_option options[MR_JOB_OPTIONS + 1] = { 0 };
	int operands, r;

	*ret = (struct mr_job){ 0 };
	mr_job_options(ret, options);
	r = cli_parse((int)count, args, options, &operands);
	if (r == 0 && operands == 0 && mr_job_choose(ret, args[0]) == EXIT_DONE)
		return EXIT_DONE;
	cli_error("mr: the plan is of a job, or has options, that this version does not know");
	return EXIT_FAILED;
}

struct wh_mr_job mr_job_map(const struct mr_job *job)
{
	if (job->kind == MR_NGRAM)
		return (struct wh_mr_job){
			.records = WH_MR_NGRAMS,
			.ngram_key = job->ngram_key,
			.ngram_version = job->ngram_version,
			.skip_bad = job->skip_bad,
		};
	return (struct wh_mr_job){ .records = WH_MR_WORDS, .words = &job->words };
}

enum wh_mr_order mr_job_order(const struct mr_job *job)
{
	(void)job; /* all there are so far */
	return WH_MR_BY_VALUE;
}

struct wh_parts_format mr_job_format(const struct mr_job *job, const struct mr_plan *plan)
{
	(void)job; /* all there are so far */
	return (struct wh_parts_format){ .count = plan->parts, .value = WH_MR_SUM };
}

const char *mr_job_list(const struct mr_job *job)
{
	return job->kind == MR_NGRAM ? "ngrams" : "words";
}

const char *mr_job_key(const struct mr_job *job)
{
	return job->kind == MR_NGRAM ? "ngram" : "word";
}
