/*
 * The registered jobs of this process, and running one here.
 *
 * Invariants
 * 1. A job stays where it is in the table until it is unregistered, and lookups copy out a pointer
 *    under the lock: who calls a job sees to it that its library stays loaded.
 * 2. Nothing is allocated: registering happens in constructors, before anything else may.
 */
#include "exec/jobs.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container.h"

/* What of struct wh_job is ours. */
enum { OPAQUE_INDEX, OPAQUE_SERIAL };

enum { BUCKETS = 256 };

struct bucket {
	int16_t first; /* index + 1 */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wh_job *jobs[WH_JOBS_MAX];
static int16_t next[WH_JOBS_MAX]; /* in the same bucket: index + 1 */
static struct bucket buckets[BUCKETS];
static bool ambiguous[WH_JOBS_MAX];
static unsigned count; /* of those that are the program's */
static uint32_t last_number;

/* FNV-1a (Fowler, Noll, Vo). */
static struct bucket *bucket_of(const char *name)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return &buckets[(hash ^ hash >> 16) % BUCKETS];
}

static int find(const char *name)
{
	int i = bucket_of(name)->first - 1;

	while (i >= 0 && strcmp(jobs[i]->name, name) != 0)
		i = next[i] - 1;
	return i;
}

static int find_free(void)
{
	int i = 0;

	while (i < WH_JOBS_MAX && jobs[i])
		i++;
	return i < WH_JOBS_MAX ? i : -ENOSPC;
}

/* The engine's own are there in every program, whether or not it wants processes. */
static bool is_own(const struct wh_job *job)
{
	return strncmp(job->name, "wh_", 3) == 0;
}

static int add(struct wh_job *job)
{
	struct bucket *bucket = bucket_of(job->name);
	int same = find(job->name);
	int i = find_free();

	if (same >= 0 && jobs[same] != job)
		ambiguous[same] = true;
	if (same >= 0)
		return -EEXIST;
	if (i < 0)
		return i;
	jobs[i] = job;
	job->opaque[OPAQUE_INDEX] = (uint64_t)i;
	job->opaque[OPAQUE_SERIAL] = ++last_number;
	ambiguous[i] = false;
	next[i] = bucket->first;
	bucket->first = (int16_t)(i + 1);
	count += !is_own(job);
	return 0;
}

int wh_job_register(struct wh_job *job)
{
	int r;

	if (strlen(job->name) > WH_JOB_NAME_MAX)
		return -ENAMETOOLONG;
	pthread_mutex_lock(&lock);
	r = add(job);
	pthread_mutex_unlock(&lock);
	return r;
}

static void take_out(struct wh_job *job, int index)
{
	int16_t *link = &bucket_of(job->name)->first;

	while (*link - 1 != index)
		link = &next[*link - 1];
	*link = next[index];
	jobs[index] = NULL;
	count -= !is_own(job);
}

void wh_job_unregister(struct wh_job *job)
{
	int index = (int)job->opaque[OPAQUE_INDEX];

	pthread_mutex_lock(&lock);
	/* Not one whose registration failed. */
	if (jobs[index] == job)
		take_out(job, index);
	pthread_mutex_unlock(&lock);
}

int whi_job_find(const char *name, struct wh_job **ret)
{
	int i, r = -ENOSYS;

	pthread_mutex_lock(&lock);
	i = name ? find(name) : -1;
	if (i >= 0 && ambiguous[i])
		r = -ENOTUNIQ;
	else if (i >= 0) {
		*ret = jobs[i];
		r = 0;
	}
	pthread_mutex_unlock(&lock);
	return r;
}

uint32_t whi_job_index(const struct wh_job *job)
{
	return (uint32_t)job->opaque[OPAQUE_INDEX];
}

uint32_t whi_job_number(const struct wh_job *job)
{
	return (uint32_t)job->opaque[OPAQUE_SERIAL];
}

unsigned whi_jobs_count(void)
{
	unsigned now;

	pthread_mutex_lock(&lock);
	now = count;
	pthread_mutex_unlock(&lock);
	return now;
}

/* As it was loaded: absolute, for whoever has another working directory. */
int whi_job_library(const struct wh_job *job, char *path, size_t size)
{
	char absolute[PATH_MAX];
	struct link_map *map = NULL;
	const char *name = "";
	Dl_info info;

	/* The program is the first object, with an empty name; so is everything in a static one. */
	if (dladdr1((void *)(uintptr_t)job->fn, &info, (void **)&map, RTLD_DL_LINKMAP) != 0 && map)
		name = map->l_name;
	if (*name && realpath(name, absolute))
		name = absolute;
	return snprintf(path, size, "%s", name) < (int)size ? 0 : -ENAMETOOLONG;
}

/* Running one here */

int wh_job_answer(struct wh_job_io *io, const void *answer, size_t len)
{
	if (len > io->result_max)
		return -EMSGSIZE;
	if (len)
		memcpy(io->result, answer, len);
	io->result_len = len;
	return 0;
}

int wh_job_run(void *arg)
{
	struct wh_call *call = arg;
	struct wh_job_io io = {
		.args = call->args,
		.args_len = call->args_len,
		.args_fd = call->args_fd,
		.result = call->result,
		.result_max = call->result_max,
	};
	struct wh_job *job;
	int result, r = whi_job_find(call->job, &job);

	call->attempts = 1;
	call->result_len = 0;
	call->result_fd = 0;
	if (r < 0)
		return r;
	result = job->fn(&io);
	call->result_fd = io.result_fd;
	if (io.result_len > io.result_max)
		return -EMSGSIZE;
	call->result_len = io.result_len;
	return result;
}
