/*
 * What a program can do to the simulated world that it is in.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/sim_world.h"
#include "base/assert.h"
#include "loop/sim.h"

bool wh_sim_active(void)
{
	return whi_sim_self() != NULL;
}

static struct whi_world *world(void)
{
	struct whi_sim *sim = whi_sim_self();

	whi_assert(sim);
	return sim->world;
}

static bool exists(uint32_t host)
{
	return host < world()->host_count;
}

uint64_t wh_sim_random(uint64_t bound)
{
	return whi_rng_below(&world()->program_rng, bound);
}

void wh_sim_addr(uint32_t host, uint16_t port, struct wh_addr *ret)
{
	struct sockaddr_in *in = (void *)&ret->storage;

	memset(ret, 0, sizeof(*ret));
	ret->len = sizeof(*in);
	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	in->sin_addr.s_addr = htonl((10u << 24) + host + 1);
}

int wh_sim_set_link(uint32_t from, uint32_t to, const struct wh_sim_link *link)
{
	if (!exists(from) || !exists(to))
		return -EINVAL;
	whi_sim_wire_of(world(), from, to)->link = *link;
	return 0;
}

int wh_sim_cut(uint32_t a, uint32_t b, bool cut)
{
	if (!exists(a) || !exists(b) || a == b)
		return -EINVAL;
	whi_sim_cut(world(), a, b, cut);
	return 0;
}

/* A host is one loop, except in wh_run's world, which has but one host: it is not crashed. */
static struct wh_loop *loop_of(uint32_t host)
{
	return whi_sim_self()->runtime.loops[host];
}

static uint32_t own_host(void)
{
	return ((struct whi_sim_ring *)(void *)whi_loop_self()->backend)->host->index;
}

int wh_sim_crash(uint32_t host)
{
	struct whi_sim *sim = whi_sim_self();
	struct whi_sim_crash crash = { .wait = { .what = "crash of a host" } };
	struct whi_scope *root;

	if (!exists(host) || host == own_host())
		return -EINVAL;
	root = &loop_of(host)->sched.root;
	if (!world()->hosts[host].down) {
		whi_sim_host_crash(&world()->hosts[host]);
		whi_scope_cancel(root, -ECANCELED);
	}
	if (root->tasks_live == 0)
		return 0;
	whi_list_init(&crash.link);
	whi_list_append(&sim->seats[host].crashes, &crash.link);
	whi_task_suspend(&crash.wait);
	return 0;
}

int wh_sim_reboot(uint32_t host)
{
	struct whi_scope *root;

	if (!exists(host))
		return -EINVAL;
	if (!world()->hosts[host].down)
		return -EALREADY;
	root = &loop_of(host)->sched.root;
	if (root->tasks_live > 0)
		return -EBUSY;
	root->status = 0;
	root->first_error = 0;
	whi_sim_self()->seats[host].signal = 0;
	whi_sim_host_reboot(&world()->hosts[host]);
	return 0;
}

int wh_sim_signal(uint32_t host, int signal)
{
	struct whi_sim_seat *seat;

	if (!exists(host) || (signal != SIGINT && signal != SIGTERM))
		return -EINVAL;
	seat = &whi_sim_self()->seats[host];
	whi_sim_note(world(), &world()->hosts[host], "signal", (uint64_t)signal, 0);
	if (seat->signal)
		return 0;
	seat->signal = signal;
	whi_scope_cancel(&loop_of(host)->sched.root, -ECANCELED);
	return 0;
}

int wh_sim_child(uint64_t after_ns, int status)
{
	return whi_sim_child_new(&world()->hosts[own_host()], after_ns, status);
}

int wh_sim_set_fds_max(uint32_t host, uint32_t fds_max)
{
	if (!exists(host))
		return -EINVAL;
	world()->hosts[host].fds_max = fds_max;
	return 0;
}

int wh_sim_set_disk(uint32_t host, uint64_t bytes)
{
	if (!exists(host))
		return -EINVAL;
	whi_sim_disk_limit(&world()->hosts[host], bytes);
	return 0;
}

int wh_sim_fail(const char *format, ...)
{
	struct whi_world *world = whi_sim_self() ? whi_sim_self()->world : NULL;
	char text[WH_SIM_TEXT_MAX - 8], line[WH_SIM_TEXT_MAX];
	va_list args;

	if (!world || world->over)
		return -EBADMSG;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!world->failed && !world->broken)
		snprintf(world->text, sizeof(world->text), "%s", text);
	world->failed = true;
	snprintf(line, sizeof(line), "fail: %s", text);
	whi_sim_trace_text(world, line);
	return -EBADMSG;
}

/* For the rest of the engine */

static void fire_call(struct whi_sim_event *event)
{
	struct whi_sim_call *call = whi_container_of(event, struct whi_sim_call, event);

	call->fn(call);
}

void whi_sim_call_after(struct whi_sim_call *call, uint64_t delay_ns)
{
	call->event.fire = fire_call;
	whi_sim_event_set(world(), &call->event, delay_ns);
}

void whi_sim_call_unset(struct whi_sim_call *call)
{
	whi_sim_event_unset(world(), &call->event);
}

uint64_t whi_sim_choose(uint64_t bound)
{
	return whi_rng_below(&world()->schedule_rng, bound);
}

/* Reports */

struct report {
	char *text;
	size_t used, size;
	uint32_t left_out;
};

static void add_task(struct report *report, uint32_t host, const struct wh_task *task)
{
	const char *what = task->wait ? task->wait->what : "its turn";
	char line[256];
	int len = snprintf(line, sizeof(line), "%s'%s' on host %u waits for %s",
			   report->used ? "; " : "", wh_task_name(task), host, what);

	if (report->used + (size_t)len + 1 > report->size) {
		report->left_out++;
		return;
	}
	memcpy(report->text + report->used, line, (size_t)len + 1);
	report->used += (size_t)len;
}

/* Every task's own scope is in the tree below its loop's root. */
static void add_scope(struct report *report, uint32_t host, const struct whi_scope *scope)
{
	if (scope->own && scope->owner)
		add_task(report, host, scope->owner);
	for (const struct whi_list *node = scope->children.next; node != &scope->children;
	     node = node->next)
		add_scope(report, host, whi_container_of(node, struct whi_scope, link));
}

void whi_sim_report_tasks(const struct whi_sim *sim, char *text, size_t size)
{
	enum { ROOM_FOR_COUNT = 32 };
	size_t used = strlen(text);
	struct report report = { .text = text + used, .size = size - used - ROOM_FOR_COUNT };

	for (unsigned i = 0; i < sim->runtime.loop_count; i++)
		add_scope(&report, i, &sim->runtime.loops[i]->sched.root);
	if (report.left_out)
		snprintf(report.text + report.used, ROOM_FOR_COUNT, "; and %u more",
			 report.left_out);
}
