/*
 * The rest of what programs do: Unix sockets by path and by name, messages of several pieces,
 * polling, sockets closed while they send, files read by a reader, and short deadlines around it
 * all. One host does it, which crashes in between.
 *
 * Invariants
 * 1. Who sees the end of a stream has got what the sender's wh_sock_bytes_sent says, in order.
 * 2. What poll says is readable can be received without waiting.
 * 3. Closing a socket ends its sender, and does not wait for a peer that does not read.
 * 4. A reader gives what was written, in order, in whole chunks but for the last.
 * 5. No deadline passes early, every error is documented, and all gets done once faults stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/file.h>

#include "sim/corners.h"

enum { HOST = 1, CRASHES = 2, ROUNDS = 4, CHUNK_MAX = 9000 };

#define CALM_NS (1 * WH_SEC)

/* Files */

static int read_back(struct wh_file *file, const uint8_t *bytes, size_t len)
{
	const struct wh_reader_opts opts = { .offset = wh_sim_random(len + 1),
					     .length = wh_sim_random(2) * between(1, len + 1),
					     .chunk_bytes = (uint32_t)between(512, CHUNK_MAX),
					     .depth = (uint32_t)between(2, 6) };
	size_t end = opts.length && opts.length < len - opts.offset ? opts.offset + opts.length
								    : len;
	struct wh_reader *reader;
	size_t at = opts.offset;
	bool last = false;
	void *data;
	ssize_t r = documented(CALL_FILE, wh_reader_open(file, &opts, &reader));

	if (r < 0)
		return (int)r;
	while ((r = documented(CALL_FILE, wh_reader_next(reader, &data))) > 0) {
		/* The last one is short at the end of the file, or before an error. */
		if (last || at + (size_t)r > end)
			r = wh_sim_fail("%zd bytes at %zu, where the end should be", r, at);
		else if (memcmp(data, bytes + at, (size_t)r) != 0)
			r = wh_sim_fail("wrong bytes in the chunk at %zu", at);
		if (r < 0)
			break;
		at += (size_t)r;
		last = r < opts.chunk_bytes;
	}
	if (r == 0 && at != end)
		r = wh_sim_fail("the reader ended at %zu instead of %zu", at, end);
	wh_reader_close(reader);
	return (int)r;
}

static int write_and_read(struct worker *worker)
{
	const uint8_t *bytes = worker->corners->bytes + wh_sim_random(CORNERS_LEN_MAX);
	size_t len = wh_sim_random(CORNERS_LEN_MAX);
	struct wh_file *file;
	int r = wh_file_open("/bytes", O_RDWR | O_CREAT | O_TRUNC, 0600, &file);

	if (documented(CALL_FILE, r) < 0)
		return r;
	r = (int)documented(CALL_FILE, wh_file_write(file, bytes, len, 0));
	if (r >= 0 && (size_t)r != len)
		r = wh_sim_fail("wh_file_write wrote %d of %zu bytes", r, len);
	if (r >= 0)
		r = read_back(file, bytes, len);
	wh_file_close(file);
	return r;
}

/* The program */

static int try_once(struct worker *worker)
{
	uint64_t timeout_ns = wh_sim_random(3) ? 0 : between(1, 10 * WH_MS);
	uint64_t begun_ns = wh_now_ns();
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = timeout_ns });
	r = worker->part == FILES ? write_and_read(worker) : corners_converse(worker);
	if (wh_scope_close(&scope) == -ETIMEDOUT && wh_now_ns() - begun_ns < timeout_ns)
		return wh_sim_fail("a deadline passed early");
	return r;
}

static int work(void *arg)
{
	struct worker *worker = arg;
	struct corners *corners = worker->corners;

	while (corners->rounds[worker->part] < ROUNDS && wh_cancelled() == 0) {
		if (corners->tries == CORNERS_TRIES_MAX)
			return wh_sim_fail("it never got through");
		corners->rounds[worker->part] += try_once(worker) == 0;
		pause_up_to(50 * WH_MS);
	}
	return 0;
}

static int program(void *arg)
{
	struct worker workers[PARTS];
	struct wh_scope servers, scope;
	int r = 0;

	wh_scope_open(&servers, NULL);
	wh_scope_open(&scope, NULL);
	for (enum part i = 0; i < PARTS && r == 0; i++) {
		workers[i] = (struct worker){ arg, i };
		r = i == FILES ? 0 : wh_spawn(&servers, corners_serve, &workers[i]);
		if (r == 0)
			r = wh_spawn(&scope, work, &workers[i]);
	}
	wh_scope_close(&scope);
	wh_scope_cancel(&servers);
	wh_scope_close(&servers);
	return r < 0 ? wh_sim_fail("a task could not be spawned") : 0;
}

/* The whole */

static int on_host(void *arg)
{
	wh_loop_call(wh_loop_at(HOST), program, arg, NULL);
	return 0;
}

static int run_and_crash(struct corners *corners)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, on_host, corners);
	if (r == 0)
		r = pause_up_to(CALM_NS / CRASHES / 2);
	if (r == 0)
		r = wh_sim_crash(HOST);
	wh_scope_close(&scope);
	return r < 0 ? r : wh_sim_reboot(HOST);
}

static int run(void *arg)
{
	struct corners *corners = calloc(1, sizeof(*corners));
	int r = corners ? 0 : -ENOMEM;

	(void)arg;
	if (corners)
		pattern_fill(1, 0, corners->bytes, sizeof(corners->bytes));
	for (int i = 0; r == 0 && i < CRASHES; i++)
		r = run_and_crash(corners);
	if (r == 0)
		r = on_host(corners);
	for (enum part i = 0; r == 0 && i < PARTS; i++)
		if (corners->rounds[i] != ROUNDS)
			r = wh_sim_fail("not all was gone through");
	free(corners);
	return r;
}

const struct wh_sim_scenario sim_corners = {
	.name = "corners",
	.about = "Unix sockets, polling, readers and deadlines, on a host that crashes",
	.fn = run,
	.opts = { .hosts = HOST + 1,
		  .faults = "storm",
		  .calm_after_ns = CALM_NS,
		  .time_max_ns = 300 * WH_SEC },
};
