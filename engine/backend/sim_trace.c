/*
 * The trace: everything that happens is folded into the world's hash, and written out as text if
 * somebody listens. The hash takes what happens, not the text made of it: a few instructions an
 * event.
 */
#include <stdio.h>

#include "backend/sim_world.h"

static void line(struct whi_world *world, const struct whi_sim_host *host, const char *text)
{
	char all[512];
	uint64_t at_ns = world->now_ns - WHI_SIM_START_NS;
	int len = snprintf(all, sizeof(all), "%8llu.%06llu ", (unsigned long long)(at_ns / WH_MS),
			   (unsigned long long)(at_ns % WH_MS));

	if (host)
		len += snprintf(all + len, sizeof(all) - (size_t)len, "host %u: ", host->index);
	snprintf(all + len, sizeof(all) - (size_t)len, "%s", text);
	world->opts->trace(world->opts->arg, all);
}

static bool listens(const struct whi_world *world)
{
	return world->opts->trace && !world->over;
}

static void hash_text(struct whi_world *world, const char *text)
{
	for (const char *c = text; *c; c++)
		whi_sim_hash(world, (uint64_t)*c);
}

static void hash_op(const struct whi_sim_host *host, const struct whi_op *op, uint64_t more)
{
	struct whi_world *world = host->world;

	whi_sim_hash(world, world->now_ns);
	whi_sim_hash(world,
		     (uint64_t)op->kind << 48 | (uint64_t)host->index << 32 | (uint32_t)op->fd);
	whi_sim_hash(world, more);
}

void whi_sim_trace_op(const struct whi_sim_host *host, const struct whi_op *op, const char *what)
{
	char text[128];

	hash_op(host, op, (uint64_t)what[0]);
	if (!listens(host->world))
		return;
	if (whi_opdefs[op->kind].needs_fd)
		snprintf(text, sizeof(text), "%s %s %d", what, whi_opdefs[op->kind].name, op->fd);
	else
		snprintf(text, sizeof(text), "%s %s", what, whi_opdefs[op->kind].name);
	line(host->world, host, text);
}

void whi_sim_trace_done(const struct whi_sim_host *host, const struct whi_op *op, int32_t result,
			unsigned flags)
{
	char text[128], fd[16] = "";

	hash_op(host, op, (uint64_t)flags << 32 | (uint32_t)result);
	if (!listens(host->world))
		return;
	if (whi_opdefs[op->kind].needs_fd)
		snprintf(fd, sizeof(fd), " %d", op->fd);
	snprintf(text, sizeof(text), "%s%s = %d%s", whi_opdefs[op->kind].name, fd, result,
		 flags & WHI_OP_MORE ? ", more" : "");
	line(host->world, host, text);
}

void whi_sim_trace_fault(struct whi_world *world, const struct wh_sim_fault *fault)
{
	char text[128];

	whi_sim_hash(world, world->now_ns);
	whi_sim_hash(world, fault->decision);
	hash_text(world, fault->name);
	if (world->over)
		return;
	if (world->opts->on_fault)
		world->opts->on_fault(world->opts->arg, fault);
	if (!listens(world))
		return;
	snprintf(text, sizeof(text), "fault %llu: %s%s%s", (unsigned long long)fault->decision,
		 fault->name, fault->op[0] ? ", " : "", fault->op);
	line(world, NULL, text);
}

void whi_sim_trace_text(struct whi_world *world, const char *text)
{
	if (listens(world))
		line(world, NULL, text);
}

void whi_sim_note(struct whi_world *world, const struct whi_sim_host *host, const char *what,
		  uint64_t a, uint64_t b)
{
	char text[128];

	whi_sim_hash(world, world->now_ns);
	hash_text(world, what);
	whi_sim_hash(world, a);
	whi_sim_hash(world, b);
	if (!listens(world))
		return;
	snprintf(text, sizeof(text), "%s %llu %llu", what, (unsigned long long)a,
		 (unsigned long long)b);
	line(world, host, text);
}
