/*
 * whorl wordcount: counts the words of files, the MapReduce layer's first job.
 */
#include <stdlib.h>

#include "count.h"

static const char usage[] =
	"usage: whorl wordcount [OPTION]... FILE...\n\n"
	"Print `word<TAB>count` for every different word of the files, most frequent first, equal\n"
	"counts in bytewise order. Directories are walked: regular files below them count, links\n"
	"and pipes do not. A file named by itself may be anything; - is standard input.\n\n"
	"A word is a longest run of bytes other than 0x00 to 0x20 (blank, tab, newline and the\n"
	"other control characters of that range are what separates words). A-Z count as a-z.\n"
	"Bytes from 0x80 are parts of words and left as they are, so that text in UTF-8, or in no\n"
	"encoding at all, passes byte for byte. Punctuation belongs to words. A word that crosses\n"
	"the end of a file ends there. Counts are exact. --words, --keep-case and --unicode say\n"
	"it otherwise.\n\n"
	"Files that begin as gzip, zstd or lz4 data do, whatever their names, are decompressed.\n"
	"Of one that is damaged, what came out before counts. A file that grows is counted as\n"
	"far as it was at the start; one that shrinks, goes away or is replaced is named, and\n"
	"what was read of it before counts.\n\n"
	"  --top N        print the N most frequent words only\n"
	"  --min-count N  print no words with less; the totals are still those of all words\n"
	"  --words SET    which bytes belong to words: control (the above), posix-space (all but\n"
	"                 tab, newline, vertical tab, form feed, return and blank), alpha (A-Z,\n"
	"                 a-z), alnum (these and 0-9), or a set such as \"a-z0-9_'\" or ^,;\\n:\n"
	"                 ranges, ^ first for all others, and \\n \\t \\\\ \\- \\^ \\xHH\n"
	"  --keep-case    A-Z are other words than a-z\n"
	"  --unicode      white space of Unicode separates words too, and upper case of any\n"
	"                 script counts as lower case, by Unicode's simple folding\n" COUNT_HELP
	"Exit status: 0 all files counted; 1 a file could not be read (the others are counted),\n"
	"interrupted, or the output could not be written; 2 wrong usage; 3 the machine lacks\n"
	"something.\n";

static const struct count_kind kind = {
	.name = "wordcount",
	.list = "words",
	.records = "words",
	.keys = "different",
};

static int choose_words(const char *text, struct wh_mr_words *words)
{
	if (!text)
		text = "control";
	if (wh_mr_words_parse(text, words) == 0)
		return 0;
	cli_error("wordcount: --words is control, posix-space, alpha, alnum or a set of "
		  "bytes as a-z0-9_ of which some but not all belong to words, not '%s'",
		  text);
	return EXIT_USAGE;
}

int cmd_wordcount(int argc, char **argv)
{
	struct count *count = count_new(&kind, NULL);
	struct wh_mr_words words = { 0 };
	const char *text = NULL;
	const struct cli_option options[] = {
		{ .name = "--words", .text = &text },
		{ .name = "--keep-case", .flag = &words.keep_case },
		{ .name = "--unicode", .flag = &words.unicode },
		{ 0 },
	};
	int r;

	if (!count)
		return EXIT_FAILED;
	r = count_parse(count, argc, argv, options);
	if (r == 0)
		r = choose_words(text, &words);
	count->job.words = &words;
	if (r == 0)
		r = count_run(count, "word");
	free(count);
	return r < 0 ? count_help(usage) : r;
}
