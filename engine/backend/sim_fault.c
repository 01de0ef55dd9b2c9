/*
 * Faults: their names, the profiles, and the decision whether one strikes.
 *
 * Invariant: whether the n-th decision is a fault, and what its number is, depends on the seed and
 * on n alone, not on the decisions before. So a run with some faults taken out is the same run up
 * to the first of these.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sim_world.h"
#include "base/assert.h"

struct fault {
	const char *name;
	const char *about;
	double net, disk, kernel, memory; /* probability in the profiles */
};

/* clang-format off */
static const struct fault faults[WHI_FAULT_MAX] = {
	[WHI_FAULT_SHORT] = { "short", "fewer bytes received or sent",
		.net = 0.05, .kernel = 0.05 },
	[WHI_FAULT_EINTR] = { "eintr", "an operation is interrupted",
		.kernel = 0.01 },
	[WHI_FAULT_EAGAIN] = { "eagain", "a quiet send finds no room, an accept nobody",
		.kernel = 0.02 },
	[WHI_FAULT_ENOBUFS] = { "enobufs", "a receive finds no buffer",
		.kernel = 0.01, .memory = 0.02 },
	[WHI_FAULT_ENOMEM] = { "enomem", "the kernel has no memory for an operation",
		.memory = 0.02 },
	[WHI_FAULT_EMFILE] = { "emfile", "no descriptor is left for a socket or file",
		.memory = 0.02 },
	[WHI_FAULT_LATE] = { "late", "a completion is held back, up to 2 ms",
		.kernel = 0.05, .net = 0.01 },
	[WHI_FAULT_REORDER] = { "reorder", "completions change places",
		.kernel = 0.2 },
	[WHI_FAULT_CANCEL_LATE] = { "cancel_late", "a cancellation misses at first",
		.kernel = 0.2 },
	[WHI_FAULT_NOMORE] = { "nomore", "a multishot operation ends with a success",
		.kernel = 0.05 },
	[WHI_FAULT_EMPTY] = { "empty", "a receive ends, and takes a buffer for nothing",
		.kernel = 0.3, .memory = 0.1 },
	[WHI_FAULT_OVERFLOW] = { "overflow", "the completion queue overflows",
		.kernel = 0.05 },
	[WHI_FAULT_STALL] = { "stall", "an operation waits until cancelled, or for calm" },
	[WHI_FAULT_PAUSE] = { "pause", "a host does not run for up to 50 ms",
		.kernel = 0.002 },
	[WHI_FAULT_RESET] = { "reset", "a connection is reset",
		.net = 0.003 },
	[WHI_FAULT_REFUSE] = { "refuse", "a connection is refused",
		.net = 0.02 },
	[WHI_FAULT_ABORTED] = { "aborted", "a connection is gone before it is accepted",
		.net = 0.02 },
	[WHI_FAULT_CUT] = { "cut", "a link fails for up to 2 s, rarely 40 s",
		.net = 0.002 },
	[WHI_FAULT_DROP] = { "drop", "a datagram is lost",
		.net = 0.05 },
	[WHI_FAULT_SLOW] = { "slow", "something takes up to 100 ms on its way",
		.net = 0.01 },
	[WHI_FAULT_EIO] = { "eio", "the disk fails to read or write",
		.disk = 0.01 },
	[WHI_FAULT_ENOSPC] = { "enospc", "the disk is full",
		.disk = 0.01 },
	[WHI_FAULT_DISK_SHORT] = { "disk_short", "fewer bytes read or written",
		.disk = 0.05 },
	[WHI_FAULT_DISK_SLOW] = { "disk_slow", "the disk takes up to a second",
		.disk = 0.01 },
	[WHI_FAULT_TORN] = { "torn", "a crash leaves part of a write",
		.disk = 0.3 },
	[WHI_FAULT_DEATH] = { "death", "a worker process of a pool ends",
		.kernel = 0.02 },
	[WHI_FAULT_FORK] = { "fork", "a worker process cannot be started",
		.memory = 0.02 },
	[WHI_FAULT_NURSERY] = { "nursery", "what starts worker processes dies with all of them",
		.kernel = 0.01 },
};
/* clang-format on */

/* Profiles */

static double of_calm(const struct fault *fault)
{
	(void)fault;
	return 0;
}

static double of_net(const struct fault *fault)
{
	return fault->net;
}

static double of_disk(const struct fault *fault)
{
	return fault->disk;
}

static double of_kernel(const struct fault *fault)
{
	return fault->kernel;
}

static double of_memory(const struct fault *fault)
{
	return fault->memory;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static double of_storm(const struct fault *fault)
{
	return larger(larger(fault->net, fault->disk), larger(fault->kernel, fault->memory));
}

/* Nobody knows the probability of what never ends by itself but who asks for it. */
static double of_hostile(const struct fault *fault)
{
	return fault == &faults[WHI_FAULT_STALL] ? 0.005 : of_storm(fault);
}

static const struct profile {
	const char *name;
	const char *about;
	double (*chance)(const struct fault *fault);
} profiles[] = {
	{ "calm", "no faults", of_calm },
	{ "net", "short transfers, resets, refusals, cut and slow links", of_net },
	{ "disk", "errors, a full disk, short and slow transfers, torn writes", of_disk },
	{ "kernel", "late and reordered completions, misses, interruptions, overflow", of_kernel },
	{ "memory", "no memory, buffers or descriptors", of_memory },
	{ "storm", "all of these", of_storm },
	{ "hostile", "storm, and operations that never complete by themselves", of_hostile },
};

enum { PROFILES = sizeof(profiles) / sizeof(profiles[0]) };

static uint64_t of_two_to_64(double chance)
{
	return chance >= 1 ? UINT64_MAX : (uint64_t)(chance * 0x1p64);
}

/* Parsing */

static bool is(const char *item, size_t len, const char *name)
{
	return strlen(name) == len && memcmp(item, name, len) == 0;
}

static bool use_profile(struct whi_world *world, const char *item, size_t len)
{
	for (unsigned i = 0; i < PROFILES; i++) {
		if (!is(item, len, profiles[i].name))
			continue;
		for (unsigned k = 0; k < WHI_FAULT_MAX; k++)
			world->chance[k] = of_two_to_64(profiles[i].chance(&faults[k]));
		return true;
	}
	return false;
}

static bool use_fault(struct whi_world *world, const char *item, size_t len)
{
	const char *equals = memchr(item, '=', len);
	char *end;
	double chance;

	if (!equals)
		return false;
	chance = strtod(equals + 1, &end);
	if (end == equals + 1 || end != item + len || !(chance >= 0 && chance <= 1))
		return false;
	for (unsigned k = 0; k < WHI_FAULT_MAX; k++) {
		if (!is(item, (size_t)(equals - item), faults[k].name))
			continue;
		world->chance[k] = of_two_to_64(chance);
		return true;
	}
	return false;
}

int whi_sim_faults_parse(struct whi_world *world, const char *text, char error[WH_SIM_TEXT_MAX])
{
	const char *item = text ? text : "";

	while (*item) {
		size_t len = strcspn(item, ",");

		if (!use_profile(world, item, len) && !use_fault(world, item, len)) {
			snprintf(error, WH_SIM_TEXT_MAX,
				 "'%.*s' is neither a profile nor a fault with its probability "
				 "(0 to 1), as in \"storm,reset=0.01\"",
				 (int)(len < 80 ? len : 80), item);
			return -EINVAL;
		}
		item += len;
		item += *item == ',';
	}
	return 0;
}

/* Not one a thread: a library's thread-local memory must be little, or dlopen refuses it. */
static char help_text[4096];

static void make_help(void)
{
	size_t len = 0;

	len += (size_t)snprintf(help_text, sizeof(help_text), "Profiles:\n");
	for (unsigned i = 0; i < PROFILES; i++)
		len += (size_t)snprintf(help_text + len, sizeof(help_text) - len, "  %-12s %s\n",
					profiles[i].name, profiles[i].about);
	len += (size_t)snprintf(help_text + len, sizeof(help_text) - len,
				"Faults, with their probability in storm:\n");
	for (unsigned i = 0; i < WHI_FAULT_MAX; i++)
		len += (size_t)snprintf(help_text + len, sizeof(help_text) - len,
					"  %-12s %5.3f  %s\n", faults[i].name, of_storm(&faults[i]),
					faults[i].about);
	whi_assert(len < sizeof(help_text));
}

const char *wh_sim_faults_help(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_help);
	return help_text;
}

/* Deciding */

static bool may_strike(struct whi_world *world, uint64_t decision)
{
	if (!world->only)
		return true;
	while (world->only_next < world->only_count && world->only[world->only_next] < decision)
		world->only_next++;
	return world->only_next < world->only_count && world->only[world->only_next] == decision;
}

uint64_t whi_sim_strike(struct whi_world *world, enum whi_sim_fault fault,
			const struct whi_sim_req *req)
{
	struct wh_sim_fault is;
	uint64_t decision, draw;

	if (world->chance[fault] == 0 || world->now_ns >= world->calm_at_ns)
		return 0;
	decision = world->decisions++;
	draw = whi_mix64(world->fault_key + decision * 0x9e3779b97f4a7c15ull);
	if (draw >= world->chance[fault] || !may_strike(world, decision))
		return 0;
	world->faults_count++;
	is = (struct wh_sim_fault){
		.decision = decision,
		.at_ns = world->now_ns - WHI_SIM_START_NS,
		.name = faults[fault].name,
		.op = req ? whi_opdefs[req->op->kind].name : "",
	};
	whi_sim_trace_fault(world, &is);
	return whi_mix64(draw ^ world->fault_key) | 1;
}
