/* Owns the plan as a file: text, a line a split.
 *
 *     whorl-plan|1|ID
 *     job|wordcount|--top|10
 *     parts|8|files|3
 *     0|file:///data/a%20b.txt|0|67108864|200000000|1700000000123456789|text
 *     ...
 *     end|TASKS|SPLITS|BYTES|SUM
 *
 * A split: its map task, URI, offset, length, size of the whole file, mtime in nanoseconds, format.
 * What a URI does not have as it is (RFC 3986, section 2.3), and in the job's line what is no
 * printable ASCII, is %XX. SUM is that of all bytes before its line. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mr.h"

enum { PLAN_VERSION = 1 };

static const char scheme[] = "file://";
static const char *const formats[MR_FORMATS] = { "text", "gzip", "zstd", "lz4" };

void mr_plan_fini(struct mr_plan *plan)
{
	for (size_t i = 0; i < plan->split_count; i++)
		free(plan->splits[i].path);
	for (size_t i = 0; i < plan->arg_count; i++)
		free(plan->args[i]);
	free(plan->splits);
	free(plan->args);
	*plan = (struct mr_plan){ 0 };
}

int mr_plan_add(struct mr_plan *plan, const struct mr_split *split)
{
	if (plan->split_count == plan->split_room) {
		size_t room = plan->split_room ? plan->split_room * 2 : 64;
		struct mr_split *splits = realloc(plan->splits, room * sizeof(*splits));

		if (!splits)
			return -ENOMEM;
		plan->splits = splits;
		plan->split_room = room;
	}
	plan->splits[plan->split_count++] = *split;
	plan->bytes += split->len;
	if (split->task >= plan->tasks)
		plan->tasks = split->task + 1;
	return 0;
}

static bool is_plain(uint8_t byte, bool uri)
{
	if (!uri)
		return byte > ' ' && byte < 0x7f && byte != '%' && byte != '|';
	return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
	       (byte >= 'A' && byte <= 'Z') || strchr("-._~/", byte);
}

static void put_escaped(FILE *file, const char *text, bool uri)
{
	for (; *text; text++)
		if (is_plain((uint8_t)*text, uri))
			putc(*text, file);
		else
			fprintf(file, "%%%02X", (uint8_t)*text);
}

/* In place. False if there is a % without two digits behind it, or a zero byte. */
static bool unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		char digits[3] = { 0 }, *end;

		if (*text != '%') {
			*to++ = *text;
			continue;
		}
		digits[0] = text[1];
		digits[1] = text[1] ? text[2] : 0;
		*to = (char)strtoul(digits, &end, 16);
		if (end != digits + 2 || *to++ == 0)
			return false;
		text += 2;
	}
	*to = 0;
	return true;
}

static void print_plan(FILE *file, const struct mr_plan *plan)
{
	fprintf(file, "whorl-plan|%d|%s\njob", PLAN_VERSION, plan->id);
	for (size_t i = 0; i < plan->arg_count; i++) {
		putc('|', file);
		put_escaped(file, plan->args[i], false);
	}
	fprintf(file, "\nparts|%" PRIu32 "|files|%" PRIu32 "\n", plan->parts, plan->files);
	for (size_t i = 0; i < plan->split_count; i++) {
		const struct mr_split *split = &plan->splits[i];

		fprintf(file, "%" PRIu32 "|%s", split->task, scheme);
		put_escaped(file, split->path, true);
		fprintf(file, "|%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|%" PRId64 "|%s\n",
			split->offset, split->len, split->size, split->mtime_ns,
			formats[split->format]);
	}
}

/* Into memory first, for the sum. */
static int write_plan(int fd, const struct mr_plan *plan)
{
	char *text = NULL, end[128];
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);
	int r = -ENOMEM;

	if (!file)
		return r;
	print_plan(file, plan);
	if (fclose(file) == 0) {
		snprintf(end, sizeof(end), "end|%" PRIu32 "|%zu|%" PRIu64 "|%016" PRIx64 "\n",
			 plan->tasks, plan->split_count, plan->bytes, mr_sum(text, len));
		r = mr_write(fd, text, len);
		if (r == 0)
			r = mr_write(fd, end, strlen(end));
	}
	free(text);
	return r;
}

static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	/* Some network file systems do not know it, and need it not. */
	if (fsync(fd) < 0 && errno != EINVAL)
		r = -errno;
	close(fd);
	return r;
}

/* Under another name, and then, unless there is a plan already, its own. */
static int write_file(const struct mr_plan *plan, const char *dir)
{
	char path[MR_PATH_BYTES], temporary[MR_PATH_BYTES + 32];
	int fd, r;

	mr_path_plan(path, dir);
	snprintf(temporary, sizeof(temporary), "%s.%s.tmp", path, plan->id);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	r = write_plan(fd, plan);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && link(temporary, path) < 0)
		r = -errno;
	unlink(temporary);
	return r < 0 ? r : sync_dir(dir);
}

int mr_manifest_write(const struct mr_plan *plan, const char *dir)
{
	int r = write_file(plan, dir);

	if (r == -EEXIST) {
		cli_error(
			"mr plan: %s has a plan already, and it is kept; choose another --dir, or "
			"go on with it (whorl mr run --resume)",
			dir);
		return EXIT_FAILED;
	}
	if (r < 0) {
		cli_error("mr plan: cannot write the plan to %s: %s", dir, strerror(-r));
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

/* The next field of a line; NULL after the last one. */
static char *field(char **line)
{
	return strsep(line, "|");
}

static bool field_number(char **line, uint64_t *ret)
{
	char *text = field(line), *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return *end == 0 && errno == 0;
}

static bool field_is(char **line, const char *expected)
{
	const char *text = field(line);

	return text && strcmp(text, expected) == 0;
}

static bool parse_head(struct mr_plan *plan, char *line)
{
	uint64_t version;
	const char *id;

	if (!field_is(&line, "whorl-plan") || !field_number(&line, &version))
		return false;
	id = field(&line);
	if (version != PLAN_VERSION || !id || strlen(id) != MR_ID_BYTES - 1)
		return false;
	memcpy(plan->id, id, MR_ID_BYTES);
	return true;
}

static bool parse_job(struct mr_plan *plan, char *line)
{
	char *arg;

	if (!field_is(&line, "job"))
		return false;
	while ((arg = field(&line))) {
		char **args = realloc(plan->args, (plan->arg_count + 2) * sizeof(*args));

		if (!args)
			return false;
		plan->args = args;
		args[plan->arg_count] = unescape(arg) ? strdup(arg) : NULL;
		if (!args[plan->arg_count])
			return false;
		args[++plan->arg_count] = NULL;
	}
	return plan->arg_count > 0;
}

static bool parse_parts(struct mr_plan *plan, char *line)
{
	uint64_t parts, files;

	if (!field_is(&line, "parts") || !field_number(&line, &parts) || parts == 0 ||
	    parts > MR_PARTS_MAX || !field_is(&line, "files") || !field_number(&line, &files))
		return false;
	plan->files = (uint32_t)files;
	plan->parts = (uint32_t)parts;
	return true;
}

static bool parse_format(char **line, enum mr_format *ret)
{
	const char *text = field(line);

	for (unsigned i = 0; i < MR_FORMATS; i++)
		if (text && strcmp(text, formats[i]) == 0) {
			*ret = (enum mr_format)i;
			return true;
		}
	return false;
}

static bool parse_split(struct mr_plan *plan, char *line)
{
	struct mr_split split = { 0 };
	uint64_t task, mtime;
	char *uri;

	if (!field_number(&line, &task) || task >= MR_TASKS_MAX)
		return false;
	split.task = (uint32_t)task;
	uri = field(&line);
	if (!uri || strncmp(uri, scheme, strlen(scheme)) != 0 || !unescape(uri))
		return false;
	if (!field_number(&line, &split.offset) || !field_number(&line, &split.len) ||
	    !field_number(&line, &split.size) || !field_number(&line, &mtime) ||
	    !parse_format(&line, &split.format))
		return false;
	if (split.offset > split.size || split.len > split.size - split.offset)
		return false;
	split.mtime_ns = (int64_t)mtime;
	split.path = strdup(uri + strlen(scheme));
	if (split.path && mr_plan_add(plan, &split) == 0)
		return true;
	free(split.path);
	return false;
}

/* Take the last line off, and compare what it says of the others. */
static bool check_end(char *text, size_t len, uint64_t ret[3])
{
	char *end;
	uint64_t sum;

	if (len == 0 || text[len - 1] != '\n')
		return false;
	text[len - 1] = 0;
	end = strrchr(text, '\n');
	if (!end || sscanf(end, "\nend|%" SCNu64 "|%" SCNu64 "|%" SCNu64 "|%16" SCNx64, &ret[0],
			   &ret[1], &ret[2], &sum) != 4)
		return false;
	end[1] = 0;
	return mr_sum(text, strlen(text)) == sum;
}

static bool parse_plan(struct mr_plan *plan, char *text, size_t len)
{
	uint64_t said[3];

	if (!check_end(text, len, said) || !parse_head(plan, strsep(&text, "\n")) || !text ||
	    !parse_job(plan, strsep(&text, "\n")) || !text ||
	    !parse_parts(plan, strsep(&text, "\n")))
		return false;
	while (text && *text)
		if (!parse_split(plan, strsep(&text, "\n")))
			return false;
	return plan->tasks == said[0] && plan->split_count == said[1] && plan->bytes == said[2];
}

/* A whole file, with a zero behind it. */
static int read_file(const char *path, char **ret, size_t *ret_len)
{
	FILE *file = fopen(path, "re");
	size_t room = 0;
	ssize_t n;
	int r = 0;

	if (!file)
		return -errno;
	*ret = NULL;
	n = getdelim(ret, &room, 0, file);
	if (n < 0 && ferror(file))
		r = -errno;
	*ret_len = n < 0 ? 0 : (size_t)n;
	fclose(file);
	return r;
}

int mr_manifest_read(struct mr_plan *plan, const char *dir)
{
	char path[MR_PATH_BYTES], *text = NULL;
	size_t len = 0;
	int r;

	*plan = (struct mr_plan){ 0 };
	mr_path_plan(path, dir);
	r = read_file(path, &text, &len);
	if (r < 0) {
		cli_error("mr: cannot read the plan %s: %s (does this host see the directory?)",
			  path, strerror(-r));
		return r == -ENOENT || r == -ENOTDIR || r == -EACCES ? EXIT_MACHINE : EXIT_RETRY;
	}
	if (!parse_plan(plan, text ? text : path, text ? len : 0)) {
		cli_error("mr: %s is no plan of this version, or damaged", path);
		mr_plan_fini(plan);
		r = EXIT_FAILED;
	}
	free(text);
	return r;
}
