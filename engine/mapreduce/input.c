/* Owns the list of a job's files and the memory of their names. Symbolic links are followed where
 * the caller names them, not where a walk meets them, so that a walk ends. */
#include "mapreduce/input.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"

enum {
	NAME_CHUNK_BYTES = 64 * 1024,
	FILE_COST = 16 * 1024, /* opening a file takes as long as reading so much of one */
};

struct whi_name_chunk {
	struct whi_name_chunk *next;
	size_t used;
	size_t room;
	char data[];
};

/* Directories still to be read. */
struct todo {
	const char **paths;
	size_t count;
	size_t room;
};

struct walk {
	struct whi_input *input;
	struct todo todo;
	const _Atomic bool *stop;
};

/* Make room for one more item of `item_bytes` in `*array`. */
static void *more(void *array, size_t count, size_t *room, size_t item_bytes)
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

/* `dir`/`name`, or `name` if `dir` is NULL. */
static const char *join(struct whi_input *input, const char *dir, const char *name)
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

static int add_file(struct whi_input *input, const struct whi_file *file)
{
	struct whi_file *files = more(input->files, input->file_count, &input->file_room,
				      sizeof(*files));

	if (!files)
		return -ENOMEM;
	input->files = files;
	files[input->file_count++] = *file;
	input->bytes += file->size;
	input->has_stream |= file->is_stream;
	return 0;
}

static int add_todo(struct todo *todo, const char *path)
{
	const char **paths = more(todo->paths, todo->count, &todo->room, sizeof(*paths));

	if (!paths)
		return -ENOMEM;
	todo->paths = paths;
	paths[todo->count++] = path;
	return 0;
}

static int add_found(struct walk *walk, const char *path, const struct stat *st)
{
	bool is_stream = !S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode);

	if (S_ISDIR(st->st_mode))
		return add_todo(&walk->todo, path);
	return add_file(walk->input, &(struct whi_file){
					     .path = path,
					     .size = is_stream ? 0 : (uint64_t)st->st_size,
					     .is_stream = is_stream,
				     });
}

static int add_error(struct walk *walk, const char *path, int error)
{
	return add_file(walk->input, &(struct whi_file){ .path = path, .error = error });
}

/* An entry of a directory that is being walked: only regular files and directories count. */
static int add_entry(struct walk *walk, const char *dir, int dir_fd, const struct dirent *entry)
{
	const char *name = entry->d_name;
	const char *path;
	struct stat st;

	if (name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)))
		return 0;
	if (entry->d_type != DT_REG && entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)
		return 0;
	path = join(walk->input, dir, name);
	if (!path)
		return -ENOMEM;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return add_error(walk, path, -errno);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0;
	return add_found(walk, path, &st);
}

static int read_entries(struct walk *walk, const char *path, DIR *dir)
{
	for (;;) {
		const struct dirent *entry;
		int r;

		if (atomic_load_explicit(walk->stop, memory_order_relaxed))
			return -ECANCELED;
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			return errno ? add_error(walk, path, -errno) : 0;
		r = add_entry(walk, path, dirfd(dir), entry);
		if (r < 0)
			return r;
	}
}

static int walk_dirs(struct walk *walk)
{
	while (walk->todo.count > 0) {
		const char *path = walk->todo.paths[--walk->todo.count];
		DIR *dir = opendir(path);
		int r;

		if (!dir) {
			r = add_error(walk, path, -errno);
		} else {
			r = read_entries(walk, path, dir);
			closedir(dir);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_named(struct walk *walk, const char *path)
{
	struct stat st;

	if (strcmp(path, "-") == 0)
		return add_file(walk->input, &(struct whi_file){ .is_stream = true });
	path = join(walk->input, NULL, path);
	if (!path)
		return -ENOMEM;
	if (stat(path, &st) < 0)
		return add_error(walk, path, -errno);
	return add_found(walk, path, &st);
}

int whi_input_walk(struct whi_input *input, const struct wh_mr_job *job, const _Atomic bool *stop)
{
	struct walk walk = { .input = input, .stop = stop };
	int r = 0;

	for (size_t i = 0; i < job->path_count && r == 0; i++) {
		r = add_named(&walk, job->paths[i]);
		if (r == 0)
			r = walk_dirs(&walk);
	}
	whi_free(walk.todo.paths);
	return r;
}

static int add_split(struct whi_input *input, const struct whi_split *split)
{
	struct whi_split *splits = more(input->splits, input->split_count, &input->split_room,
					sizeof(*splits));

	if (!splits)
		return -ENOMEM;
	input->splits = splits;
	splits[input->split_count++] = *split;
	return 0;
}

/* Parts of one file; the last one may be up to half longer than the others. */
static int cut_file(struct whi_input *input, size_t file, uint64_t split_bytes)
{
	uint64_t size = input->files[file].size;

	for (uint64_t begin = 0, end; begin < size; begin = end) {
		int r;

		end = size - begin < split_bytes + split_bytes / 2 ? size : begin + split_bytes;
		r = add_split(input, &(struct whi_split){
					     .file = file,
					     .file_count = 1,
					     .begin = begin,
					     .end = end,
				     });
		if (r < 0)
			return r;
	}
	return 0;
}

/* Add `file` to the last split if that is one of whole files and there is room. */
static bool append_file(struct whi_input *input, size_t file, uint64_t split_bytes,
			uint64_t *gathered)
{
	struct whi_split *last;
	uint64_t size = input->files[file].size;

	if (input->split_count == 0)
		return false;
	last = &input->splits[input->split_count - 1];
	if (last->end != UINT64_MAX || last->file + last->file_count != file ||
	    *gathered + size + FILE_COST > split_bytes)
		return false;
	last->file_count++;
	*gathered += size + FILE_COST;
	return true;
}

int whi_input_split(struct whi_input *input, uint64_t split_bytes, bool whole)
{
	uint64_t gathered = 0;

	for (size_t i = 0; i < input->file_count; i++) {
		const struct whi_file *file = &input->files[i];
		int r;

		if (file->error || file->is_stream || append_file(input, i, split_bytes, &gathered))
			continue;
		if (file->size > split_bytes && !whole) {
			r = cut_file(input, i, split_bytes);
		} else {
			gathered = file->size + FILE_COST;
			r = add_split(input, &(struct whi_split){
						     .file = i,
						     .file_count = 1,
						     .end = UINT64_MAX,
					     });
		}
		if (r < 0)
			return r;
	}
	return 0;
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
