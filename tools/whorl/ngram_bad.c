/* Where a bad line is. Workers know the offsets of lines, not their numbers: those are counted
 * here, in the one case that wants one. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "ngram.h"

enum { CHUNK_BYTES = 256 * 1024, SHOWN_BYTES = 40, SHOWN_ROOM = SHOWN_BYTES * 4 + 4 };

/* Count the newlines before `offset`. Returns -1 if there is less to read. */
static int64_t lines_before(int fd, uint64_t offset, char *chunk)
{
	int64_t lines = 0;

	for (uint64_t at = 0; at < offset;) {
		size_t want = offset - at < CHUNK_BYTES ? (size_t)(offset - at) : CHUNK_BYTES;
		ssize_t n = pread(fd, chunk, want, (off_t)at);

		if (n <= 0)
			return -1;
		for (ssize_t i = 0; i < n; i++)
			lines += chunk[i] == '\n';
		at += (uint64_t)n;
	}
	return lines;
}

/* Whether the file still has, and as it is, what was mapped: a compressed one has not. */
static bool holds(int fd, const struct wh_mr_bad_line *bad, char *chunk)
{
	ssize_t n = pread(fd, chunk, bad->bytes.len, (off_t)bad->origin.offset);

	return n == (ssize_t)bad->bytes.len &&
	       (n == 0 || memcmp(chunk, bad->bytes.data, bad->bytes.len) == 0);
}

/* The number of the line, from 1; 0 if it cannot be known. */
static uint64_t line_number(const struct wh_mr_bad_line *bad)
{
	int fd = open(bad->origin.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char *chunk = malloc(CHUNK_BYTES);
	int64_t before = -1;

	if (fd >= 0 && chunk && holds(fd, bad, chunk))
		before = lines_before(fd, bad->origin.offset, chunk);
	free(chunk);
	if (fd >= 0)
		close(fd);
	return (uint64_t)(before + 1);
}

/* The beginning of a line as a person can read it, on one line. */
static const char *shown(char text[SHOWN_ROOM], const struct wh_mr_bytes *bytes)
{
	const uint8_t *data = bytes->data;
	size_t len = bytes->len < SHOWN_BYTES ? bytes->len : SHOWN_BYTES;
	char *at = text;

	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\t')
			at += sprintf(at, "\\t");
		else if (data[i] == '\r')
			at += sprintf(at, "\\r");
		else if (data[i] < 0x20 || data[i] == 0x7f || data[i] == '\\')
			at += sprintf(at, "\\x%02x", data[i]);
		else
			*at++ = (char)data[i];
	}
	memcpy(at, bytes->len > len ? "..." : "", bytes->len > len ? 4 : 1);
	return text;
}

char *ngram_bad_text(const struct wh_mr_bad_line *bad)
{
	bool is_stdin = strcmp(bad->origin.path, "-") == 0;
	const char *path = is_stdin ? "standard input" : bad->origin.path;
	uint64_t number = is_stdin ? 0 : line_number(bad);
	char line[SHOWN_ROOM], *text = NULL;
	int len;

	shown(line, &bad->bytes);
	if (number)
		len = asprintf(&text, "%s: line %" PRIu64 " (byte %" PRIu64 "): %s: \"%s\"", path,
			       number, bad->origin.offset, bad->reason, line);
	else
		len = asprintf(&text, "%s: the line at byte %" PRIu64 ": %s: \"%s\"", path,
			       bad->origin.offset, bad->reason, line);
	return len < 0 ? NULL : text;
}

void ngram_say_bad(const char *who, const struct wh_mr_bad_line *bad)
{
	char *text = ngram_bad_text(bad);

	cli_error("%s: %s", who, text ? text : bad->reason);
	free(text);
}
