/* Question: how fast does a good plain C program count words? One thread, 64 KiB reads, FNV-1a over
 * the folded bytes as they are scanned, an open-addressing table that grows at half full, words in
 * an arena, one sort at the end. The baseline that `whorl wordcount` is measured against.
 *
 * Separators are the bytes 0x00-0x20, A-Z count as a-z, every other byte belongs to a word.
 * Prints `word<TAB>count`, count descending, equal counts bytewise ascending.
 *
 * Does not measure: SIMD, threads, mmap, many small files.
 *
 * Usage: plain_count FILE... */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)
#define ARENA_BYTES (1024 * 1024)
#define FNV_BASIS 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

struct entry {
	const uint8_t *word; /* NULL: free */
	size_t len;
	uint64_t hash;
	uint64_t count;
};

struct table {
	struct entry *slots;
	size_t slot_count; /* a power of two */
	size_t used;
	uint8_t *arena;
	size_t arena_left;
};

/* A word being scanned; it may span reads. */
struct word {
	uint8_t *bytes;
	size_t len;
	size_t room;
	uint64_t hash;
};

static void *must(void *ptr)
{
	if (!ptr) {
		fprintf(stderr, "plain_count: out of memory\n");
		exit(1);
	}
	return ptr;
}

static const uint8_t *keep(struct table *table, const uint8_t *bytes, size_t len)
{
	uint8_t *at;

	if (len > table->arena_left) {
		table->arena_left = len > ARENA_BYTES ? len : ARENA_BYTES;
		table->arena = must(malloc(table->arena_left));
	}
	at = table->arena;
	memcpy(at, bytes, len);
	table->arena += len;
	table->arena_left -= len;
	return at;
}

static void grow(struct table *table)
{
	size_t count = table->slot_count * 2;
	struct entry *slots = must(calloc(count, sizeof(*slots)));

	for (size_t i = 0; i < table->slot_count; i++) {
		const struct entry *old = &table->slots[i];
		size_t at = old->hash & (count - 1);

		if (!old->word)
			continue;
		while (slots[at].word)
			at = (at + 1) & (count - 1);
		slots[at] = *old;
	}
	free(table->slots);
	table->slots = slots;
	table->slot_count = count;
}

static void add(struct table *table, const struct word *word)
{
	size_t mask = table->slot_count - 1;
	size_t at = word->hash & mask;
	struct entry *entry = &table->slots[at];

	while (entry->word) {
		if (entry->hash == word->hash && entry->len == word->len &&
		    memcmp(entry->word, word->bytes, word->len) == 0) {
			entry->count++;
			return;
		}
		at = (at + 1) & mask;
		entry = &table->slots[at];
	}
	*entry = (struct entry){ keep(table, word->bytes, word->len), word->len, word->hash, 1 };
	if (++table->used * 2 > table->slot_count)
		grow(table);
}

static void end_word(struct table *table, struct word *word)
{
	if (word->len == 0)
		return;
	add(table, word);
	word->len = 0;
	word->hash = FNV_BASIS;
}

/* Room for a whole read more, so that the scan need not look at each byte. */
static void make_room(struct word *word)
{
	if (word->room - word->len >= READ_BYTES)
		return;
	word->room = (word->len + READ_BYTES) * 2;
	word->bytes = must(realloc(word->bytes, word->room));
}

static void scan(struct table *table, struct word *word, const uint8_t *buf, size_t len)
{
	static uint8_t fold[256];

	if (!fold['a'])
		for (int c = 0; c < 256; c++)
			fold[c] = (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	make_room(word);
	for (size_t i = 0; i < len; i++) {
		uint8_t c = fold[buf[i]];

		if (c <= 0x20) {
			end_word(table, word);
			continue;
		}
		word->bytes[word->len++] = c;
		word->hash = (word->hash ^ c) * FNV_PRIME;
	}
}

static int count_file(struct table *table, const char *path)
{
	static uint8_t buf[READ_BYTES];
	struct word word = { .hash = FNV_BASIS };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		scan(table, &word, buf, (size_t)n);
	n = n < 0 ? -errno : 0;
	end_word(table, &word);
	free(word.bytes);
	close(fd);
	return (int)n;
}

static int by_count_then_word(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	size_t len = x->len < y->len ? x->len : y->len;
	int order;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	order = memcmp(x->word, y->word, len);
	if (order)
		return order;
	return x->len < y->len ? -1 : x->len > y->len;
}

static int print(struct table *table)
{
	size_t n = 0;

	for (size_t i = 0; i < table->slot_count; i++)
		if (table->slots[i].word)
			table->slots[n++] = table->slots[i];
	qsort(table->slots, n, sizeof(*table->slots), by_count_then_word);
	for (size_t i = 0; i < n; i++) {
		fwrite(table->slots[i].word, 1, table->slots[i].len, stdout);
		printf("\t%llu\n", (unsigned long long)table->slots[i].count);
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "plain_count: cannot write: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct table table = { .slot_count = 1 << 16 };
	int failed = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: plain_count FILE...\n");
		return 2;
	}
	table.slots = must(calloc(table.slot_count, sizeof(*table.slots)));
	for (int i = 1; i < argc; i++) {
		int r = count_file(&table, argv[i]);

		if (r < 0) {
			fprintf(stderr, "plain_count: cannot read %s: %s\n", argv[i], strerror(-r));
			failed = 1;
		}
	}
	return print(&table) || failed;
}
