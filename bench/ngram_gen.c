/* Makes ngram files of any size, and says what counting them must give.
 *
 * Every line is a pure function of the seed, the number of words, and the line's own number: any
 * range of lines can be made anywhere, and `--totals` adds up a range without making its text. All
 * arithmetic is on integers, so that each machine makes the same bytes.
 *
 * Words come in groups of 64, with one word of each of 64 classes: a class says for how many years
 * its words were met (from 208 down to 7), so that all groups have equally many lines, and a line's
 * word is found by division. How often a word was met is Zipf's law: a constant divided by its
 * rank.
 * Words begin with their number in letters, so that their order is that of their numbers.
 *
 * Usage: see below. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	CLASSES = 64, /* words of a group */
	VARIANTS = 64,
	LAST_YEAR = 2008,
	YEARS_MOST = 208,
	WORD_BYTES = 256, /* more than any word has */
	GRAMS_MAX = 5,
	OUT_BYTES = 1 << 20,
	LINE_BYTES = 16384, /* more than any line has */
	ZIPF_TOP = 1 << 27, /* of the most frequent word, a year */
};

static const char usage[] =
	"usage: ngram_gen [OPTION]...\n\n"
	"  --words N       about so many different ngrams (1766400: 1.1 GB)\n"
	"  --seed N        (1)\n"
	"  --version V     2009, 2012 or 2020 (2012)\n"
	"  --order ORDER   sorted or shuffled (sorted)\n"
	"  --grams N       words of an ngram, 1 to 5 (1)\n"
	"  --from N        first line (0)\n"
	"  --to N          the line after the last one (all lines)\n"
	"  --totals        print what counting that range must print, instead of its lines\n"
	"  --by-year       with --totals: for each year\n"
	"  --lines         print how many lines there are\n";

struct config {
	uint64_t words, seed, version, grams, from, to;
	bool shuffled, totals, by_year, lines;
};

struct corpus {
	struct config config;
	uint64_t groups;
	uint64_t lines;
	uint64_t group_lines; /* of the versions with a line a year */
	unsigned prefix;      /* letters that a word's number takes */
	unsigned years[CLASSES];
	uint8_t classes[VARIANTS][CLASSES];	/* of each word of a group */
	uint16_t starts[VARIANTS][CLASSES + 1]; /* lines of the group before each word */
};

/* A word, and one of its years. */
struct place {
	uint64_t word;
	unsigned class;
	unsigned year; /* 0: the first one */
};

struct entry {
	unsigned year;
	uint64_t matches, pages, volumes;
};

struct out {
	size_t len;
	uint8_t bytes[OUT_BYTES + LINE_BYTES];
};

static void die(const char *what)
{
	fprintf(stderr, "ngram_gen: %s\n", what);
	exit(1);
}

static void *must(void *memory)
{
	if (!memory)
		die("out of memory");
	return memory;
}

/* The finalizer of MurmurHash3 (A. Appleby), over two numbers. */
static uint64_t mix(uint64_t a, uint64_t b)
{
	a ^= b * 0x9e3779b97f4a7c15u;
	a = (a ^ a >> 33) * 0xff51afd7ed558ccdu;
	a = (a ^ a >> 33) * 0xc4ceb9fe1a85ec53u;
	return a ^ a >> 33;
}

/* A permutation of 0 .. `count` - 1: four rounds of a Feistel network on just enough bits, again
 * until the result is in range. */
static uint64_t permute(uint64_t at, uint64_t count, uint64_t key)
{
	unsigned half = 1;
	uint64_t mask;

	while (half < 32 && count > UINT64_C(1) << 2 * half)
		half++;
	mask = (UINT64_C(1) << half) - 1;
	do {
		uint64_t left = at >> half, right = at & mask;

		for (unsigned round = 0; round < 4; round++) {
			uint64_t next = left ^ (mix(right, key + round) & mask);

			left = right;
			right = next;
		}
		at = left << half | right;
	} while (at >= count);
	return at;
}

static void corpus_init(struct corpus *corpus, const struct config *config)
{
	uint64_t room = 1;

	memset(corpus, 0, sizeof(*corpus));
	corpus->config = *config;
	corpus->groups = (config->words + CLASSES - 1) / CLASSES;
	for (unsigned class = 0; class < CLASSES; class ++) {
		unsigned years = 500 / (class + 2);

		corpus->years[class] = years > YEARS_MOST ? YEARS_MOST : years;
		corpus->group_lines += corpus->years[class];
	}
	for (unsigned variant = 0; variant < VARIANTS; variant++) {
		unsigned start = 0;

		/* An odd factor permutes the classes. */
		for (unsigned word = 0; word < CLASSES; word++) {
			unsigned class = (word * (2 * (variant / 8) + 21) + variant % 8 * 9) %
					 CLASSES;

			corpus->classes[variant][word] = (uint8_t) class;
			corpus->starts[variant][word] = (uint16_t)start;
			start += corpus->years[class];
		}
		corpus->starts[variant][CLASSES] = (uint16_t)start;
	}
	corpus->lines = corpus->groups * (config->version == 2020 ? CLASSES : corpus->group_lines);
	for (; room < corpus->groups * CLASSES; room *= 26)
		corpus->prefix++;
}

static unsigned variant_of(const struct corpus *corpus, uint64_t group)
{
	return (unsigned)(mix(group, corpus->config.seed) % VARIANTS);
}

static struct place word_place(const struct corpus *corpus, uint64_t word)
{
	unsigned variant = variant_of(corpus, word / CLASSES);

	return (struct place){ word, corpus->classes[variant][word % CLASSES], 0 };
}

/* The word and year of a line of the sorted file. */
static struct place place_of(const struct corpus *corpus, uint64_t line)
{
	uint64_t group = line / corpus->group_lines;
	unsigned rest = (unsigned)(line % corpus->group_lines);
	const uint16_t *starts = corpus->starts[variant_of(corpus, group)];
	unsigned word = 0;
	struct place place;

	if (corpus->config.version == 2020)
		return word_place(corpus, line);
	for (unsigned step = CLASSES / 2; step > 0; step /= 2)
		if (starts[word + step] <= rest)
			word += step;
	place = word_place(corpus, group * CLASSES + word);
	place.year = rest - starts[word];
	return place;
}

static struct place line_place(const struct corpus *corpus, uint64_t line)
{
	if (corpus->config.shuffled)
		line = permute(line, corpus->lines, mix(corpus->config.seed, 1));
	return place_of(corpus, line);
}

static struct place next_place(const struct corpus *corpus, struct place place)
{
	if (corpus->config.version != 2020 && ++place.year < corpus->years[place.class])
		return place;
	return word_place(corpus, place.word + 1);
}

static struct entry entry_at(const struct corpus *corpus, const struct place *place)
{
	uint64_t seed = corpus->config.seed;
	uint64_t rank = 1 + place->class * corpus->groups +
			permute(place->word / CLASSES, corpus->groups, mix(seed, 2));
	struct entry entry = { .year = LAST_YEAR + 1 - corpus->years[place->class] + place->year };
	uint64_t random = mix(mix(place->word, seed), entry.year);
	uint64_t most = ZIPF_TOP / rank >> (LAST_YEAR - entry.year) / 32;

	entry.matches = 1 + most * (512 + random % 1024) / 1024;
	entry.volumes = 1 + (entry.matches - 1) / (2 + (random >> 16) % 6);
	entry.pages = entry.volumes + (entry.matches - entry.volumes) / 2;
	return entry;
}

static uint8_t *put_letters(uint8_t *at, uint64_t random, unsigned count)
{
	for (; count > 0; count--, random = random / 26 + (random << 59))
		*at++ = (uint8_t)('a' + random % 26);
	return at;
}

/* Write the word's text to `at`. Returns its end. */
static uint8_t *put_word(const struct corpus *corpus, uint8_t *at, uint64_t word)
{
	uint64_t random = mix(word, mix(corpus->config.seed, 3)), rest = word;
	unsigned more = (unsigned)(random % 7 + (random >> 8) % 64 / 63 * 16);

	for (unsigned letter = corpus->prefix; letter > 0; letter--, rest /= 26)
		at[letter - 1] = (uint8_t)('a' + rest % 26);
	at = put_letters(at + corpus->prefix, mix(random, 1), more);
	for (unsigned gram = 1; gram < corpus->config.grams; gram++) {
		uint64_t letters = mix(random, 1 + gram);

		*at++ = ' ';
		at = put_letters(at, letters, 2 + (unsigned)(letters >> 57) % 8);
	}
	return at;
}

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
	uint8_t digits[20];
	size_t left = sizeof(digits);

	do {
		digits[--left] = (uint8_t)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	memcpy(at, digits + left, sizeof(digits) - left);
	return at + sizeof(digits) - left;
}

static uint8_t *put_entry(const struct corpus *corpus, uint8_t *at, const struct place *place)
{
	struct entry entry = entry_at(corpus, place);
	uint8_t separator = corpus->config.version == 2020 ? ',' : '\t';

	*at++ = '\t';
	at = put_number(at, entry.year);
	*at++ = separator;
	at = put_number(at, entry.matches);
	if (corpus->config.version == 2009) {
		*at++ = separator;
		at = put_number(at, entry.pages);
	}
	*at++ = separator;
	return put_number(at, entry.volumes);
}

static void flush(struct out *out)
{
	for (size_t at = 0; at < out->len;) {
		ssize_t n = write(STDOUT_FILENO, out->bytes + at, out->len - at);

		if (n < 0 && errno != EINTR)
			die(strerror(errno));
		at += n > 0 ? (size_t)n : 0;
	}
	out->len = 0;
}

static void put_line(const struct corpus *corpus, struct out *out, struct place place)
{
	uint8_t *at = put_word(corpus, out->bytes + out->len, place.word);

	if (corpus->config.version == 2020)
		for (; place.year < corpus->years[place.class]; place.year++)
			at = put_entry(corpus, at, &place);
	else
		at = put_entry(corpus, at, &place);
	*at++ = '\n';
	out->len = (size_t)(at - out->bytes);
	if (out->len >= OUT_BYTES)
		flush(out);
}

static void print_lines(const struct corpus *corpus, struct out *out)
{
	const struct config *config = &corpus->config;
	struct place place = { 0 };

	for (uint64_t line = config->from; line < config->to; line++) {
		if (config->shuffled || line == config->from)
			place = line_place(corpus, line);
		else
			place = next_place(corpus, place);
		put_line(corpus, out, place);
	}
	flush(out);
}

/* What a word, or a year, comes to. */
struct total {
	uint64_t key;
	uint64_t sum;
	bool seen;
};

static void add_place(const struct corpus *corpus, struct total *totals, uint64_t first,
		      struct place place)
{
	unsigned end = corpus->config.version == 2020 ? corpus->years[place.class] : place.year + 1;

	for (; place.year < end; place.year++) {
		struct entry entry = entry_at(corpus, &place);
		uint64_t key = corpus->config.by_year ? entry.year : place.word;

		totals[key - first].key = key;
		totals[key - first].sum += entry.matches;
		totals[key - first].seen = true;
	}
}

static int by_sum(const void *a, const void *b)
{
	const struct total *x = a, *y = b;

	if (x->sum != y->sum)
		return x->sum > y->sum ? -1 : 1;
	return x->key < y->key ? -1 : x->key > y->key;
}

static void print_total(const struct corpus *corpus, struct out *out, const struct total *total)
{
	uint8_t *at = out->bytes + out->len;

	if (corpus->config.by_year)
		at = put_number(at, total->key);
	else
		at = put_word(corpus, at, total->key);
	*at++ = '\t';
	at = put_number(at, total->sum);
	*at++ = '\n';
	out->len = (size_t)(at - out->bytes);
	if (out->len >= OUT_BYTES)
		flush(out);
}

static void print_totals(const struct corpus *corpus, struct out *out)
{
	const struct config *config = &corpus->config;
	uint64_t first = 0, count = corpus->groups * CLASSES, used = 0;
	struct total *totals;
	struct place place = { 0 };

	if (config->by_year) {
		count = LAST_YEAR + 1;
	} else if (!config->shuffled && config->from < config->to) {
		first = place_of(corpus, config->from).word;
		count = place_of(corpus, config->to - 1).word + 1 - first;
	}
	totals = must(calloc(count, sizeof(*totals)));
	for (uint64_t line = config->from; line < config->to; line++) {
		if (config->shuffled || line == config->from)
			place = line_place(corpus, line);
		else
			place = next_place(corpus, place);
		add_place(corpus, totals, first, place);
	}
	for (uint64_t i = 0; i < count; i++)
		if (totals[i].seen)
			totals[used++] = totals[i];
	qsort(totals, used, sizeof(*totals), by_sum);
	for (uint64_t i = 0; i < used; i++)
		print_total(corpus, out, &totals[i]);
	flush(out);
	free(totals);
}

static void wrong_usage(void)
{
	fputs(usage, stderr);
	exit(2);
}

static bool read_flag(struct config *config, const char *name)
{
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{ "--totals", &config->totals },
		{ "--by-year", &config->by_year },
		{ "--lines", &config->lines },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(name, flags[i].name) == 0)
			return *flags[i].flag = true;
	return false;
}

static bool read_number(struct config *config, const char *name, const char *value)
{
	const struct {
		const char *name;
		uint64_t *number, min, max;
	} numbers[] = {
		{ "--words", &config->words, 1, UINT64_C(1) << 40 },
		{ "--seed", &config->seed, 0, UINT64_MAX },
		{ "--version", &config->version, 2009, 2020 },
		{ "--grams", &config->grams, 1, GRAMS_MAX },
		{ "--from", &config->from, 0, UINT64_MAX },
		{ "--to", &config->to, 0, UINT64_MAX },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		char *end;

		if (strcmp(name, numbers[i].name) != 0)
			continue;
		errno = 0;
		*numbers[i].number = strtoull(value, &end, 10);
		return !errno && end != value && !*end && *numbers[i].number >= numbers[i].min &&
		       *numbers[i].number <= numbers[i].max;
	}
	return false;
}

static struct config read_options(int argc, char **argv)
{
	struct config config = {
		.words = 1766400, .seed = 1, .version = 2012, .grams = 1, .to = UINT64_MAX
	};

	for (int i = 1; i < argc; i++) {
		if (read_flag(&config, argv[i]))
			continue;
		if (++i == argc)
			wrong_usage();
		if (strcmp(argv[i - 1], "--order") == 0)
			config.shuffled = strcmp(argv[i], "shuffled") == 0;
		else if (!read_number(&config, argv[i - 1], argv[i]))
			wrong_usage();
	}
	if (config.version != 2009 && config.version != 2012 && config.version != 2020)
		wrong_usage();
	return config;
}

int main(int argc, char **argv)
{
	struct config config = read_options(argc, argv);
	struct corpus *corpus = must(malloc(sizeof(*corpus)));
	struct out *out = must(malloc(sizeof(*out)));

	corpus_init(corpus, &config);
	if (corpus->config.to > corpus->lines)
		corpus->config.to = corpus->lines;
	out->len = 0;
	if (config.lines)
		printf("%" PRIu64 "\n", corpus->lines);
	else if (config.totals)
		print_totals(corpus, out);
	else
		print_lines(corpus, out);
	free(out);
	free(corpus);
	return 0;
}
