/* Owns the list of a job's files and the memory of their names. */
#include "mapreduce/input.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "mapreduce/walk.h"

enum { NAME_CHUNK_BYTES = 64 * 1024 };

struct whi_name_chunk {
	struct whi_name_chunk *next;
	size_t used;
	size_t room;
	char data[];
};

void *whi_input_more(void *array, size_t count, size_t *room, size_t item_bytes)
{
	size_t wanted = *room ? *room * 2 : 64;
	void *grown;

	if (count < *room)
		return array;
	grown = whi_realloc(array, wanted * item_bytes);
	if (grown)
		*room = wanted;
	return grown;
}

static char *name_room(struct whi_input *input, size_t len)
{
	struct whi_name_chunk *chunk = input->names;

	if (!chunk || chunk->room - chunk->used < len) {
		size_t room = len > NAME_CHUNK_BYTES ? len : NAME_CHUNK_BYTES;

		chunk = whi_alloc(sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		*chunk = (struct whi_name_chunk){ .next = input->names, .room = room };
		input->names = chunk;
	}
	chunk->used += len;
	return chunk->data + chunk->used - len;
}

const char *whi_input_join(struct whi_input *input, const char *dir, const char *name)
{
	size_t dir_len = dir ? strlen(dir) : 0, name_len = strlen(name);
	char *path = name_room(input, dir_len + name_len + 2), *at = path;

	if (!path)
		return NULL;
	if (dir) {
		/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): the name comes behind */
		at = (char *)memcpy(path, dir, dir_len) + dir_len;
		if (dir_len && at[-1] != '/')
			*at++ = '/';
	}
	memcpy(at, name, name_len + 1);
	return path;
}

int whi_input_add(struct whi_input *input, const struct whi_file *file)
{
	struct whi_file *files = whi_input_more(input->files, input->file_count, &input->file_room,
						sizeof(*files));

	if (!files)
		return -ENOMEM;
	input->files = files;
	files[input->file_count++] = *file;
	input->bytes += file->end ? file->end - file->begin : file->size;
	input->has_stream |= file->is_stream;
	return 0;
}

static int add_error(struct whi_input *input, const char *path, int error)
{
	return whi_input_add(input, &(struct whi_file){ .path = path, .error = error });
}

/* Part of a file, which it may have become shorter than. */
static int add_range(struct whi_input *input, const char *path, const struct stat *st,
		     const struct wh_mr_range *range)
{
	uint64_t size = (uint64_t)st->st_size;
	struct whi_file file = { .path = path, .size = size, .begin = range->offset };

	if (!S_ISREG(st->st_mode))
		return add_error(input, path, S_ISDIR(st->st_mode) ? -EISDIR : -ESPIPE);
	if (range->offset >= size || range->len > size - range->offset)
		return add_error(input, path, -ESTALE);
	if (range->len == 0)
		return 0;
	/* A whole file may be read together with others. */
	file.end = range->len < size ? range->offset + range->len : 0;
	return whi_input_add(input, &file);
}

static int add_named(struct whi_input *input, const char *path, const struct wh_mr_range *range,
		     struct whi_walk *walk)
{
	struct stat st;
	bool is_stream;

	if (strcmp(path, "-") == 0)
		return whi_input_add(input, &(struct whi_file){ .is_stream = true });
	path = whi_input_join(input, NULL, path);
	if (!path)
		return -ENOMEM;
	if (stat(path, &st) < 0)
		return add_error(input, path, -errno);
	if (range)
		return add_range(input, path, &st, range);
	if (S_ISDIR(st.st_mode))
		return whi_walk_add(walk, path);
	is_stream = !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
	return whi_input_add(input, &(struct whi_file){
					    .path = path,
					    .size = is_stream ? 0 : (uint64_t)st.st_size,
					    .is_stream = is_stream,
				    });
}

int whi_input_name(struct whi_input *input, const struct wh_mr_job *job, struct whi_walk *walk)
{
	int r = 0;

	for (size_t i = 0; i < job->path_count && r == 0; i++)
		r = add_named(input, job->paths[i], job->ranges ? &job->ranges[i] : NULL, walk);
	return r;
}

int whi_input_take(struct whi_input *input, struct whi_input *part)
{
	struct whi_name_chunk **last = &input->names;
	int r = 0;

	for (size_t i = 0; i < part->file_count && r == 0; i++)
		r = whi_input_add(input, &part->files[i]);
	while (*last)
		last = &(*last)->next;
	*last = part->names;
	part->names = NULL;
	whi_input_fini(part);
	return r;
}

void whi_input_fini(struct whi_input *input)
{
	while (input->names) {
		struct whi_name_chunk *chunk = input->names;

		input->names = chunk->next;
		whi_free(chunk);
	}
	whi_free(input->files);
	whi_free(input->splits);
	*input = (struct whi_input){ 0 };
}
