/*
 * lookups NAME...: the address of each name as soon as it is known, all asked for at the same time.
 *
 * getaddrinfo(3) blocks: it is done on the lane for jobs that wait. What is not answered within
 * ten seconds is given up: names that still wait for a thread are not asked for any more.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/exec.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

struct lookup {
	const char *name;
	char address[INET6_ADDRSTRLEN];
	int error; /* of getaddrinfo(3) */
};

struct lookups {
	struct lookup *lookups;
	size_t count;
	unsigned failed;
};

/* On a thread of the executor. */
static int look_up(void *arg)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct lookup *lookup = arg;
	struct addrinfo *found;

	lookup->error = getaddrinfo(lookup->name, NULL, &hints, &found);
	if (lookup->error)
		return -ENOENT;
	getnameinfo(found->ai_addr, found->ai_addrlen, lookup->address, sizeof(lookup->address),
		    NULL, 0, NI_NUMERICHOST);
	freeaddrinfo(found);
	return 0;
}

/* In the task that maps. */
static int tell(void *arg, const struct wh_map_done *done)
{
	const struct lookup *lookup = done->item;
	struct lookups *lookups = arg;

	if (done->result == 0) {
		printf("%s %s\n", lookup->name, lookup->address);
		return 0;
	}
	lookups->failed++;
	fprintf(stderr, "lookups: %s: %s\n", lookup->name,
		done->status < 0 ? strerror(-done->status) : gai_strerror(lookup->error));
	return 0;
}

static int look_up_all(void *arg)
{
	struct lookups *lookups = arg;
	struct wh_executor *executor;
	struct wh_scope scope;
	int r = wh_executor_open(NULL, &executor);

	if (r < 0)
		return r;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 10 * WH_SEC });
	r = wh_map(executor, &(struct wh_map){
				     .fn = look_up,
				     .items = lookups->lookups,
				     .item_bytes = sizeof(lookups->lookups[0]),
				     .count = lookups->count,
				     .each = tell,
				     .arg = lookups,
				     .lane = WH_LANE_BLOCKING,
				     .as_they_finish = true,
				     .keep_going = true,
			     });
	wh_scope_close(&scope);
	wh_executor_close(executor);
	return r;
}

int main(int argc, char **argv)
{
	struct lookups lookups = { .count = argc > 1 ? (size_t)argc - 1 : 0 };
	int r, result = 0;

	if (lookups.count == 0) {
		fprintf(stderr, "usage: lookups NAME...\n");
		return 2;
	}
	lookups.lookups = calloc(lookups.count, sizeof(lookups.lookups[0]));
	if (!lookups.lookups)
		return 1;
	for (size_t i = 0; i < lookups.count; i++)
		lookups.lookups[i].name = argv[i + 1];
	r = wh_run(look_up_all, &lookups, &(struct wh_run_opts){ .loops = 1 }, &result);
	if (r == 0)
		r = result;
	if (r < 0)
		fprintf(stderr, "lookups: %s\n", strerror(-r));
	free(lookups.lookups);
	return r < 0 || lookups.failed;
}
