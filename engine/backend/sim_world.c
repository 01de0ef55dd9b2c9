/*
 * The world: its time, its events, its hosts and their descriptors.
 *
 * Invariants
 * 1. Events fire in the order of their times; those of one time in the order in which they were
 *    set. Time never goes back.
 * 2. An open file's `refs` counts its descriptors and the requests on it. It is released when both
 *    are gone, as in the kernel: closing a descriptor ends no request.
 * 3. Nothing is ordered by an address.
 */
#include "backend/sim_world.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

/* Memory */

void *whi_sim_alloc(size_t len)
{
	void *ptr = whi_alloc(len ? len : 1);

	if (whi_unlikely(!ptr))
		whi_die("whorl: no memory for the simulated kernel");
	return ptr;
}

void *whi_sim_calloc(size_t len)
{
	return memset(whi_sim_alloc(len), 0, len);
}

void *whi_sim_realloc(void *ptr, size_t len)
{
	ptr = whi_realloc(ptr, len);
	if (whi_unlikely(!ptr))
		whi_die("whorl: no memory for the simulated kernel");
	return ptr;
}

void whi_sim_free(void *ptr)
{
	whi_free(ptr);
}

/* Events: a binary heap. */

static bool before(const struct whi_sim_event *a, const struct whi_sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

static void put(struct whi_world *world, uint32_t place, struct whi_sim_event *event)
{
	world->heap[place] = event;
	event->place = place + 1;
}

static void sift_up(struct whi_world *world, uint32_t place)
{
	struct whi_sim_event *event = world->heap[place];

	while (place > 0 && before(event, world->heap[(place - 1) / 2])) {
		put(world, place, world->heap[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	put(world, place, event);
}

static void sift_down(struct whi_world *world, uint32_t place)
{
	struct whi_sim_event *event = world->heap[place];

	for (;;) {
		uint32_t child = 2 * place + 1;

		if (child + 1 < world->heap_count &&
		    before(world->heap[child + 1], world->heap[child]))
			child++;
		if (child >= world->heap_count || !before(world->heap[child], event))
			break;
		put(world, place, world->heap[child]);
		place = child;
	}
	put(world, place, event);
}

void whi_sim_event_set(struct whi_world *world, struct whi_sim_event *event, uint64_t delay_ns)
{
	whi_assert(event->place == 0);
	if (world->heap_count == world->heap_room) {
		world->heap_room = world->heap_room ? 2 * world->heap_room : 64;
		world->heap = whi_sim_realloc(world->heap,
					      world->heap_room * sizeof(world->heap[0]));
	}
	event->at_ns = whi_clock_add(world->now_ns, delay_ns);
	event->sequence = world->sequence++;
	world->heap[world->heap_count] = event;
	sift_up(world, world->heap_count++);
}

void whi_sim_event_unset(struct whi_world *world, struct whi_sim_event *event)
{
	uint32_t place = event->place;
	struct whi_sim_event *last;

	if (place-- == 0)
		return;
	event->place = 0;
	last = world->heap[--world->heap_count];
	if (last == event)
		return;
	put(world, place, last);
	sift_up(world, place);
	sift_down(world, last->place - 1);
}

void whi_world_run_due(struct whi_world *world)
{
	while (world->heap_count && world->heap[0]->at_ns <= world->now_ns) {
		struct whi_sim_event *event = world->heap[0];

		whi_sim_event_unset(world, event);
		world->events++;
		event->fire(event);
	}
}

uint64_t whi_world_next_ns(const struct whi_world *world)
{
	return world->heap_count ? world->heap[0]->at_ns : WHI_NEVER;
}

uint64_t whi_sim_now_ns(const struct whi_world *world)
{
	return world->now_ns;
}

struct whi_rng *whi_sim_disk_rng(struct whi_world *world)
{
	return &world->disk_rng;
}

struct whi_rng *whi_sim_net_rng(struct whi_world *world)
{
	return &world->net_rng;
}

void whi_sim_violation(struct whi_world *world, const char *format, ...)
{
	char text[WH_SIM_TEXT_MAX];
	va_list args;

	if (world->over)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	whi_sim_trace_text(world, text);
	if (!world->broken && !world->failed)
		snprintf(world->text, sizeof(world->text), "%s", text);
	world->broken = true;
}

/* Open files */

void whi_sim_file_init(struct whi_sim_file *file, struct whi_sim_host *host,
		       enum whi_sim_file_kind kind, const struct whi_sim_file_ops *ops)
{
	*file = (struct whi_sim_file){ .kind = kind, .ops = ops, .host = host };
	whi_list_init(&file->polls);
}

void whi_sim_file_unref(struct whi_sim_file *file)
{
	whi_assert(file->refs > 0);
	if (--file->refs == 0)
		file->ops->release(file);
}

bool whi_sim_fd_room(const struct whi_sim_host *host)
{
	return host->fds_max == 0 || host->fds_open < host->fds_max;
}

static void grow_fds(struct whi_sim_host *host)
{
	uint32_t room = host->fds_room ? 2 * host->fds_room : 16;

	host->fds = whi_sim_realloc(host->fds, room * sizeof(host->fds[0]));
	memset(host->fds + host->fds_room, 0, (room - host->fds_room) * sizeof(host->fds[0]));
	host->fds_room = room;
}

int whi_sim_fd_new(struct whi_sim_host *host, struct whi_sim_file *file)
{
	if (!whi_sim_fd_room(host))
		return -EMFILE;
	while (host->fd_low < host->fds_room && host->fds[host->fd_low])
		host->fd_low++;
	if (host->fd_low == host->fds_room)
		grow_fds(host);
	host->fds[host->fd_low] = file;
	host->fds_open++;
	file->refs++;
	file->fds++;
	return WHI_SIM_FD_BASE + (int)host->fd_low++;
}

struct whi_sim_file *whi_sim_fd_get(const struct whi_sim_host *host, int fd)
{
	uint32_t index = (uint32_t)fd - WHI_SIM_FD_BASE;

	return fd >= WHI_SIM_FD_BASE && index < host->fds_room ? host->fds[index] : NULL;
}

static void fd_free(struct whi_sim_host *host, uint32_t index)
{
	struct whi_sim_file *file = host->fds[index];

	host->fds[index] = NULL;
	host->fds_open--;
	if (index < host->fd_low)
		host->fd_low = index;
	if (--file->fds == 0 && file->ops->closed)
		file->ops->closed(file);
	whi_sim_file_unref(file);
}

int whi_sim_close_now(struct whi_sim_host *host, const struct whi_op *op)
{
	if (!whi_sim_fd_get(host, op->fd)) {
		whi_sim_violation(host->world, "host %u closes descriptor %d, which is not open",
				  host->index, op->fd);
		return -EBADF;
	}
	fd_free(host, (uint32_t)op->fd - WHI_SIM_FD_BASE);
	return 0;
}

void whi_sim_host_check(struct whi_sim_host *host)
{
	char text[256];

	for (uint32_t i = 0; i < host->fds_room; i++) {
		struct whi_sim_file *file = host->fds[i];

		if (!file)
			continue;
		text[0] = '\0';
		if (file->ops->describe)
			file->ops->describe(file, text, sizeof(text));
		whi_sim_violation(host->world, "host %u leaves descriptor %u open: %s", host->index,
				  i + WHI_SIM_FD_BASE, text);
	}
}

static void close_all(struct whi_sim_host *host)
{
	for (uint32_t i = 0; i < host->fds_room; i++)
		if (host->fds[i])
			fd_free(host, i);
}

/* Hosts */

static void each_ring(struct whi_sim_host *host, void (*fn)(struct whi_sim_ring *ring))
{
	for (uint32_t i = 0; i < host->world->ring_count; i++) {
		struct whi_sim_ring *ring = host->world->rings[i];

		if (ring && ring->host == host)
			fn(ring);
	}
}

void whi_sim_host_crash(struct whi_sim_host *host)
{
	whi_sim_note(host->world, host, "crash", 0, 0);
	/* First the network, so that nobody hears of what is closed here. */
	whi_sim_net_crash(host);
	host->down = true;
	each_ring(host, whi_sim_ring_crash);
	close_all(host);
	whi_sim_children_fini(host);
	whi_sim_disk_crash(host);
}

void whi_sim_host_reboot(struct whi_sim_host *host)
{
	whi_sim_note(host->world, host, "reboot", 0, 0);
	host->down = false;
	whi_sim_net_reboot(host);
}

static void host_init(struct whi_world *world, uint32_t index)
{
	struct whi_sim_host *host = &world->hosts[index];

	host->world = world;
	host->index = index;
	host->port_next = (uint32_t)whi_rng_below(&world->net_rng, 28232);
	host->pid_next = 100;
	whi_list_init(&host->sockets);
	whi_list_init(&host->children);
	whi_sim_disk_init(host);
}

static void host_fini(struct whi_sim_host *host)
{
	whi_sim_net_fini(host);
	whi_sim_children_fini(host);
	whi_sim_disk_fini(host);
	whi_sim_free(host->fds);
}

/* Worlds */

static void become_calm(struct whi_sim_event *event)
{
	struct whi_world *world = whi_container_of(event, struct whi_world, calm);

	whi_sim_note(world, NULL, "calm", 0, 0);
	whi_sim_links_calm(world);
	for (uint32_t i = 0; i < world->ring_count; i++)
		if (world->rings[i])
			whi_sim_ring_calm(world->rings[i]);
}

static void seed_all(struct whi_world *world, uint64_t seed)
{
	struct whi_rng rng = { .state = seed };

	world->schedule_rng.state = whi_rng_next(&rng);
	world->net_rng.state = whi_rng_next(&rng);
	world->disk_rng.state = whi_rng_next(&rng);
	world->program_rng.state = whi_rng_next(&rng);
	world->fault_key = whi_rng_next(&rng);
	world->hash = seed;
	/* Between 4 and 128 KiB: small ones make senders wait. */
	world->sndbuf = 4096u << whi_rng_below(&world->net_rng, 6);
	world->rcvbuf = 4096u << whi_rng_below(&world->net_rng, 6);
}

int whi_world_new(uint64_t seed, const struct wh_sim_opts *opts, uint32_t rings_per_host,
		  char error[WH_SIM_TEXT_MAX], struct whi_world **ret)
{
	struct whi_world *world = whi_sim_calloc(sizeof(*world));
	int r;

	world->now_ns = WHI_SIM_START_NS;
	world->opts = opts;
	world->only = opts->only;
	world->only_count = opts->only_count;
	world->calm_at_ns = opts->calm_after_ns ? world->now_ns + opts->calm_after_ns : WHI_NEVER;
	r = whi_sim_faults_parse(world, opts->faults, error);
	if (r < 0) {
		whi_sim_free(world);
		return r;
	}
	seed_all(world, seed);
	whi_list_init(&world->cqes);
	whi_list_init(&world->messages);
	world->host_count = opts->hosts ? opts->hosts : 1;
	world->ring_count = world->host_count * rings_per_host;
	world->hosts = whi_sim_calloc(world->host_count * sizeof(world->hosts[0]));
	world->rings = whi_sim_calloc(world->ring_count * sizeof(struct whi_sim_ring *));
	whi_sim_links_init(world);
	for (uint32_t i = 0; i < world->host_count; i++)
		host_init(world, i);
	world->calm.fire = become_calm;
	if (opts->calm_after_ns)
		whi_sim_event_set(world, &world->calm, opts->calm_after_ns);
	*ret = world;
	return 0;
}

void whi_world_free(struct whi_world *world)
{
	struct whi_list *node;

	world->over = true;
	for (uint32_t i = 0; i < world->host_count; i++)
		close_all(&world->hosts[i]);
	whi_sim_messages_fini(world);
	whi_sim_segs_fini(world);
	for (uint32_t i = 0; i < world->host_count; i++)
		host_fini(&world->hosts[i]);
	whi_sim_links_fini(world);
	while ((node = whi_list_pop(&world->cqes)))
		whi_sim_free(whi_container_of(node, struct whi_sim_cqe, link));
	whi_sim_free(world->hosts);
	whi_sim_free(world->rings);
	whi_sim_free(world->heap);
	whi_sim_free(world);
}
