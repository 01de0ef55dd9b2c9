/*
 * File replace with crashes. A program on host 1 replaces a file by the next version, again and
 * again: it writes a temporary file, syncs it, renames it over the file, syncs the directory. Only
 * then the version counts as acknowledged. The host crashes at random times; a reader looks in
 * between and after each reboot.
 *
 * Invariants
 * 1. Whoever reads the file finds one version, whole.
 * 2. It is at least the last one that was acknowledged before it was opened, and was begun.
 * 3. No file before the first version is acknowledged, and always one afterwards.
 * 4. Every error is documented; once faults have stopped a version goes through in time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <whorl/file.h>

#include "sim/replace.h"

enum { HOST = 1, CRASHES = 4, PIECE_MAX = 6000, VERSIONS_MAX = 4096 };

#define CALM_NS (1 * WH_SEC)
#define TEMPORARY "/next"
#define FOLDER "/"

/* Replacing */

static int sync_folder(void)
{
	struct wh_file *folder;
	int r = wh_file_open(FOLDER, O_RDONLY | O_DIRECTORY, 0, &folder);

	if (r < 0)
		return r;
	r = wh_file_sync(folder, false);
	wh_file_close(folder);
	return r;
}

static int write_version(struct wh_file *file, uint64_t version)
{
	const struct replace_head head = { .version = version,
					   .len = between(0, REPLACE_BODY_MAX) };
	uint8_t buf[PIECE_MAX];
	ssize_t r = wh_file_write(file, &head, sizeof(head), 0);

	for (uint64_t at = 0; r >= 0 && at < head.len;) {
		size_t len = head.len - at < sizeof(buf) ? (size_t)(head.len - at) : sizeof(buf);

		pattern_fill(version, at, buf, len);
		r = wh_file_write(file, buf, len, sizeof(head) + at);
		at += len;
	}
	return r < 0 ? (int)r : 0;
}

static int replace(const struct store *store, uint64_t version)
{
	struct wh_file *file;
	int r = wh_file_open(TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC, 0644, &file);
	int closed;

	if (r < 0)
		return r;
	r = write_version(file, version);
	if (r == 0 && !store->skips_sync)
		r = wh_file_sync(file, false);
	closed = wh_file_close(file);
	if (r == 0)
		r = closed;
	if (r == 0)
		r = wh_path_rename(TEMPORARY, REPLACE_NAME, 0);
	if (r == 0 && !store->skips_folder)
		r = sync_folder();
	return r;
}

static int writer(void *arg)
{
	struct store *store = arg;

	while (!store->stop && wh_cancelled() == 0 && store->begun < VERSIONS_MAX) {
		uint64_t version = ++store->begun;

		if (documented(CALL_FILE, replace(store, version)) == 0)
			store->acked = version;
		pause_up_to(20 * WH_MS);
	}
	return 0;
}

/* Looking */

/* Until it has seen the file once; a crash may be in the way. */
static int reader(void *arg)
{
	uint8_t *buf = malloc(REPLACE_FILE_MAX + 1);
	int r = buf ? -EAGAIN : -ENOMEM;

	while (buf && r < 0 && r != -EBADMSG && wh_cancelled() == 0) {
		r = replace_look(arg, buf);
		if (r < 0)
			pause_up_to(10 * WH_MS);
	}
	free(buf);
	return 0;
}

static int on_host(wh_task_fn fn, struct store *store)
{
	return wh_loop_call(wh_loop_at(HOST), fn, store, NULL);
}

static int write_on_host(void *arg)
{
	on_host(writer, arg);
	return 0;
}

static int read_on_host(void *arg)
{
	on_host(reader, arg);
	return 0;
}

/* The whole */

static int crash_and_look(struct store *store)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, write_on_host, store);
	if (r == 0)
		r = pause_up_to(CALM_NS / CRASHES / 2);
	if (r == 0)
		r = wh_spawn(&scope, read_on_host, store);
	if (r == 0)
		r = pause_up_to(CALM_NS / CRASHES / 2);
	if (r == 0)
		r = wh_sim_crash(HOST);
	wh_scope_close(&scope);
	if (r == 0)
		r = wh_sim_reboot(HOST);
	return r < 0 ? r : on_host(reader, store);
}

static int end_well(struct store *store)
{
	uint64_t before = store->acked;
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, write_on_host, store);
	while (r == 0 && store->acked == before)
		r = wh_sleep(10 * WH_MS);
	store->stop = true;
	wh_scope_close(&scope);
	return r < 0 ? r : on_host(reader, store);
}

static int run(void *arg)
{
	struct store store = { .skips_sync = planted(arg, "unsynced"),
			       .skips_folder = planted(arg, "folder") };
	int r = 0;

	for (int i = 0; r == 0 && i < CRASHES; i++)
		r = crash_and_look(&store);
	return r < 0 ? r : end_well(&store);
}

#define WORLD                                                                                      \
	{                                                                                          \
		.hosts = HOST + 1, .faults = "storm", .calm_after_ns = CALM_NS,                    \
		.time_max_ns = 300 * WH_SEC,                                                       \
	}

const struct wh_sim_scenario sim_replace = {
	.name = "replace",
	.about = "a file is replaced while its host crashes",
	.fn = run,
	.opts = WORLD,
};

const struct wh_sim_scenario sim_replace_unsynced = {
	.name = "replace:unsynced",
	.about = "the new file is not synced before it is renamed",
	.fn = run,
	.arg = (char[]){ "unsynced" },
	.opts = WORLD,
};

const struct wh_sim_scenario sim_replace_folder = {
	.name = "replace:folder",
	.about = "the folder is not synced after the renaming",
	.fn = run,
	.arg = (char[]){ "folder" },
	.opts = WORLD,
};
