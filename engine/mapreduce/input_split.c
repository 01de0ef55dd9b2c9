/* Owns how files become splits: large ones are cut, small ones are put together. Those that are
 * compressed are cut between frames; what cannot be cut is read in one piece. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "mapreduce/decompress.h"
#include "mapreduce/input.h"

enum { FILE_COST = 16 * 1024 }; /* opening a file takes as long as reading so much of one */

static int add_split(struct whi_input *input, const struct whi_split *split)
{
	size_t room = input->split_room ? input->split_room * 2 : 64;
	struct whi_split *splits = input->splits;

	if (input->split_count == input->split_room) {
		splits = whi_realloc(splits, room * sizeof(*splits));
		if (!splits)
			return -ENOMEM;
		input->splits = splits;
		input->split_room = room;
	}
	splits[input->split_count++] = *split;
	return 0;
}

/* Parts of one file, or of a range of it; the last one may be up to half longer than the others. */
static int cut_file(struct whi_input *input, size_t file, uint64_t split_bytes)
{
	const struct whi_file *whole = &input->files[file];
	uint64_t size = whole->end ? whole->end : whole->size;
	struct whi_identity is;

	whi_identity_get(&is, AT_FDCWD, whole->path);
	for (uint64_t begin = whole->begin, end; begin < size; begin = end) {
		int r;

		end = size - begin < split_bytes + split_bytes / 2 ? size : begin + split_bytes;
		r = add_split(input, &(struct whi_split){
					     .file = file,
					     .file_count = 1,
					     .begin = begin,
					     .end = end,
					     .is = is,
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

	if (input->split_count == 0 || input->files[file].end)
		return false;
	last = &input->splits[input->split_count - 1];
	if (last->end != UINT64_MAX || last->file + last->file_count != file ||
	    *gathered + size + FILE_COST > split_bytes)
		return false;
	last->file_count++;
	*gathered += size + FILE_COST;
	return true;
}

/* Frames of one file on their way to splits. */
struct frames {
	struct whi_input *input;
	const _Atomic bool *stop;
	struct whi_identity is;
	size_t file;
	uint64_t begin; /* of the next split */
	uint64_t split_bytes;
	int error;
};

static int add_frames(struct frames *frames, uint64_t end)
{
	int r = add_split(frames->input, &(struct whi_split){
						 .file = frames->file,
						 .file_count = 1,
						 .begin = frames->begin,
						 .end = end,
						 .is = frames->is,
					 });

	frames->begin = end;
	return r;
}

static bool found_frame(void *arg, uint64_t begin)
{
	struct frames *frames = arg;

	if (atomic_load_explicit(frames->stop, memory_order_relaxed))
		frames->error = -ECANCELED;
	else if (begin - frames->begin >= frames->split_bytes)
		frames->error = add_frames(frames, begin);
	return frames->error == 0;
}

/* Splits of whole frames; of a file that has but one, none. */
static int cut_frames(struct frames *frames, int fd)
{
	whi_identity_get(&frames->is, fd, NULL);
	whi_frames_find(fd, found_frame, frames);
	if (frames->error == 0 && frames->begin > 0)
		return add_frames(frames, frames->input->files[frames->file].size);
	return frames->error;
}

static bool is_packed(int fd)
{
	uint8_t head[WHI_UNPACK_HEAD];
	ssize_t n = pread(fd, head, sizeof(head), 0);

	return n > 0 && whi_unpack_is_packed(head, (size_t)n);
}

/* If the file is compressed, say so and cut it if that can be done. Whatever cannot be opened is
 * left for its reader to explain. */
static int look_at(struct whi_input *input, size_t index, const struct whi_cut *cut,
		   const _Atomic bool *stop)
{
	struct whi_file *file = &input->files[index];
	struct frames frames = {
		.input = input,
		.stop = stop,
		.file = index,
		.split_bytes = cut->split_bytes,
	};
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int r = 0;

	if (fd < 0)
		return 0;
	file->packed = is_packed(fd);
	if (file->packed && !cut->whole && cut->by_content)
		r = cut_frames(&frames, fd);
	/* Until it is known how many there are. */
	file->piped = file->packed && frames.begin == 0;
	close(fd);
	return r;
}

/* The large compressed files first: they take longest. One in one piece is decoded by one task
 * while others map, unless there are enough of them to keep all workers busy with one each. */
static int split_packed(struct whi_input *input, const struct whi_cut *cut,
			const _Atomic bool *stop)
{
	size_t piped = 0;
	int r = 0;

	for (size_t i = 0; i < input->file_count && r == 0; i++) {
		const struct whi_file *file = &input->files[i];

		/* A part of a file is of its bytes as they are. */
		if (file->error || file->is_stream || file->end || file->begin ||
		    file->size <= cut->split_bytes)
			continue;
		r = look_at(input, i, cut, stop);
		piped += file->piped;
	}
	for (size_t i = 0; i < input->file_count && r == 0 && piped >= cut->workers; i++) {
		if (!input->files[i].piped)
			continue;
		input->files[i].piped = false;
		r = add_split(input, &(struct whi_split){
					     .file = i,
					     .file_count = 1,
					     .end = UINT64_MAX,
				     });
	}
	return r;
}

static int split_plain(struct whi_input *input, size_t index, const struct whi_cut *cut,
		       uint64_t *gathered)
{
	const struct whi_file *file = &input->files[index];
	uint64_t size = file->size;

	if (append_file(input, index, cut->split_bytes, gathered))
		return 0;
	if (file->end || (size > cut->split_bytes && !cut->whole))
		return cut_file(input, index, cut->split_bytes);
	*gathered = size + FILE_COST;
	return add_split(input, &(struct whi_split){
					.file = index,
					.file_count = 1,
					.end = UINT64_MAX,
				});
}

int whi_input_split(struct whi_input *input, const struct whi_cut *cut, const _Atomic bool *stop)
{
	/* Nothing is put to the last of the large ones. */
	uint64_t gathered = UINT64_MAX / 2;
	int r = cut->unpack ? split_packed(input, cut, stop) : 0;

	for (size_t i = 0; i < input->file_count && r == 0; i++) {
		const struct whi_file *file = &input->files[i];

		if (!file->error && !file->is_stream && !file->packed)
			r = split_plain(input, i, cut, &gathered);
	}
	return r;
}
