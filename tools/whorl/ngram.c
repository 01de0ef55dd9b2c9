/*
 * whorl ngram: adds up the match counts of ngram files.
 */
#include "ngram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "count.h"

static const char usage[] =
	"usage: whorl ngram [OPTION]... FILE...\n\n"
	"Add up the match counts of Google Books ngram files and print `ngram<TAB>count`, the\n"
	"largest count first, equal counts in bytewise order of their ngrams. Directories are\n"
	"walked; - is standard input; gzip, zstd and lz4 files are decompressed, whatever their\n"
	"names.\n\n"
	"A line is of one of three versions, which the lines themselves tell apart:\n\n"
	"  2009  ngram<TAB>year<TAB>match_count<TAB>page_count<TAB>volume_count\n"
	"  2012  ngram<TAB>year<TAB>match_count<TAB>volume_count\n"
	"  2020  ngram<TAB>year,match_count,volume_count<TAB>year,match_count,volume_count...\n\n"
	"All lines must be of one version. An ngram is what is before the first tab: any bytes,\n"
	"blanks and upper case as they are, of any length but 0. Years have 1 to 4 digits; counts\n"
	"and their sums must be below 2^64 - 1. Lines end in a newline; the last one needs none.\n"
	"Anything else (an empty line, a carriage return, other columns) is a bad line, and\n"
	"the first one ends the program.\n\n"
	"  --by KEY       ngram, year or both (`ngram<TAB>year<TAB>count`); default: ngram\n"
	"  --version V    2009, 2012 or 2020: lines of other versions are bad; default: auto,\n"
	"                 that of the lines\n"
	"  --skip-bad     leave bad lines out, say how many there were and which was the first;\n"
	"                 needs --version if lines of several versions are to be told apart\n"
	"  --bypass WHEN  auto, always or never: whether ngrams go to where equal ones meet\n"
	"                 without a look at what was met lately; default: auto\n"
	"  --top N        print the N largest counts only\n"
	"  --min-count N  print no counts below N; the totals are still of all lines\n" COUNT_HELP
	"Exit status: 0 all lines counted, or bad ones left out by --skip-bad; 1 a bad line, a\n"
	"file that could not be read (the others are counted), a sum of 2^64 - 1 or more,\n"
	"interrupted, or the output could not be written; 2 wrong usage; 3 the machine lacks\n"
	"something.\n";

/* The options that only this command has: as they were given, and what they mean. */
struct own {
	bool skip_bad;
	const char *by, *version, *bypass;
	int key, version_number, bypass_number;
};

static int say_failed(const struct count *count)
{
	const struct own *own = count->own;

	switch (count->result) {
	case -EBADMSG:
		cli_error("ngram: nothing was printed; --skip-bad leaves bad lines out%s",
			  own->skip_bad && !own->version_number
				  ? ", but of which version all others are --version has to say"
				  : "");
		return EXIT_FAILED;
	case -EOVERFLOW:
		cli_error("ngram: counts add up to more than 18446744073709551614");
		return EXIT_FAILED;
	default:
		return -1;
	}
}

static const struct count_kind kind = {
	.name = "ngram",
	.list = "ngrams",
	.records = "counts",
	.keys = "different keys",
	.skips = true,
	.say_failed = say_failed,
};

static void bad_line(void *arg, const struct wh_mr_bad_line *bad)
{
	struct count *count = arg;

	progress_clear(&count->progress);
	ngram_say_bad("ngram", bad);
}

/* The number of a word among those an option takes, which are the values of an enumeration. */
static int choose(const char *option, const char *word, const char *const *words, int *ret)
{
	for (int i = 0; words[i]; i++)
		if (!word || strcmp(word, words[i]) == 0) {
			*ret = i;
			return 0;
		}
	cli_error("ngram: %s cannot be '%s'; see whorl ngram --help", option, word);
	return EXIT_USAGE;
}

static int choose_all(struct own *own, struct wh_mr_job *job)
{
	static const char *const keys[] = { "ngram", "year", "both", NULL };
	static const char *const versions[] = { "auto", "2009", "2012", "2020", NULL };
	static const char *const bypasses[] = { "auto", "always", "never", NULL };
	int r = choose("--by", own->by, keys, &own->key);

	if (r == 0)
		r = choose("--version", own->version, versions, &own->version_number);
	if (r == 0)
		r = choose("--bypass", own->bypass, bypasses, &own->bypass_number);
	job->records = WH_MR_NGRAMS;
	job->ngram_key = (enum wh_mr_ngram_key)own->key;
	job->ngram_version = (enum wh_mr_ngram_version)own->version_number;
	job->bypass = (enum wh_mr_bypass)own->bypass_number;
	job->skip_bad = own->skip_bad;
	job->bad_line = bad_line;
	return r;
}

int cmd_ngram(int argc, char **argv)
{
	struct own own = { 0 };
	struct count *count = count_new(&kind, &own);
	const struct cli_option options[] = {
		{ .name = "--by", .text = &own.by },
		{ .name = "--version", .text = &own.version },
		{ .name = "--skip-bad", .flag = &own.skip_bad },
		{ .name = "--bypass", .text = &own.bypass },
		{ 0 },
	};
	int r;

	if (!count)
		return EXIT_FAILED;
	r = count_parse(count, argc, argv, options);
	if (r == 0)
		r = choose_all(&own, &count->job);
	if (r == 0)
		r = count_run(count, own.key == WH_MR_BY_YEAR ? "year" : "ngram");
	free(count);
	return r < 0 ? count_help(usage) : r;
}
