/*
 * Links between hosts: how long things take, and whether they arrive.
 *
 * Invariant: what arrives while its link is cut is held, in order, and arrives after mending, or is
 * dropped when silence has ended the connections between the two hosts.
 */
#include "backend/sim_net.h"
#include "base/assert.h"

#define LATENCY_NS (100 * 1000ull)
#define LOOPBACK_NS (5 * 1000ull)

struct whi_sim_wire *whi_sim_wire_of(struct whi_world *world, uint32_t from, uint32_t to)
{
	return &world->wires[from * world->host_count + to];
}

struct whi_sim_pair *whi_sim_pair_of(struct whi_world *world, uint32_t a, uint32_t b)
{
	return &world->pairs[a < b ? a * world->host_count + b : b * world->host_count + a];
}

bool whi_sim_is_cut(struct whi_world *world, uint32_t a, uint32_t b)
{
	const struct whi_sim_pair *pair = whi_sim_pair_of(world, a, b);

	return pair->cut || pair->fault_cut;
}

uint64_t whi_sim_travel_ns(struct whi_world *world, uint32_t from, uint32_t to, size_t bytes)
{
	struct whi_sim_wire *wire = whi_sim_wire_of(world, from, to);
	uint64_t delay = wire->link.latency_ns;
	uint64_t slow = from == to ? 0 : whi_sim_strike(world, WHI_FAULT_SLOW, NULL);

	if (wire->link.jitter_ns)
		delay += whi_rng_below(&world->net_rng, wire->link.jitter_ns);
	if (slow)
		delay += slow % (100 * WH_MS);
	if (wire->link.bytes_per_s == 0)
		return delay;
	if (wire->free_at_ns < world->now_ns)
		wire->free_at_ns = world->now_ns;
	wire->free_at_ns += (uint64_t)((double)bytes * 1e9 / (double)wire->link.bytes_per_s);
	return delay + wire->free_at_ns - world->now_ns;
}

/* Was whole, or is again. */
static void changed(struct whi_sim_pair *pair, bool was_cut)
{
	struct whi_world *world = pair->world;
	bool cut = pair->cut || pair->fault_cut;

	if (cut == was_cut)
		return;
	whi_sim_note(world, NULL, cut ? "cut" : "mend", pair->a, pair->b);
	if (cut) {
		whi_sim_event_set(world, &pair->silence, WHI_SIM_SILENCE_NS);
		return;
	}
	whi_sim_event_unset(world, &pair->silence);
	whi_sim_segs_resume(pair);
}

void whi_sim_cut(struct whi_world *world, uint32_t a, uint32_t b, bool cut)
{
	struct whi_sim_pair *pair = whi_sim_pair_of(world, a, b);
	bool was_cut = pair->cut || pair->fault_cut;

	pair->cut = cut;
	changed(pair, was_cut);
}

void whi_sim_fault_cut(struct whi_world *world, uint32_t a, uint32_t b, uint64_t for_ns)
{
	struct whi_sim_pair *pair = whi_sim_pair_of(world, a, b);
	bool was_cut = pair->cut || pair->fault_cut;

	if (pair->fault_cut)
		return;
	pair->fault_cut = true;
	whi_sim_event_set(world, &pair->mend, for_ns);
	changed(pair, was_cut);
}

static void mend(struct whi_sim_event *event)
{
	struct whi_sim_pair *pair = whi_container_of(event, struct whi_sim_pair, mend);

	pair->fault_cut = false;
	changed(pair, true);
}

static void silence(struct whi_sim_event *event)
{
	whi_sim_net_silence(whi_container_of(event, struct whi_sim_pair, silence));
}

void whi_sim_links_calm(struct whi_world *world)
{
	for (uint32_t i = 0; i < world->host_count * world->host_count; i++) {
		struct whi_sim_pair *pair = &world->pairs[i];

		if (!pair->fault_cut)
			continue;
		whi_sim_event_unset(world, &pair->mend);
		mend(&pair->mend);
	}
}

void whi_sim_links_init(struct whi_world *world)
{
	uint32_t n = world->host_count;

	world->wires = whi_sim_calloc(n * n * sizeof(world->wires[0]));
	world->pairs = whi_sim_calloc(n * n * sizeof(world->pairs[0]));
	for (uint32_t i = 0; i < n * n; i++) {
		struct whi_sim_pair *pair = &world->pairs[i];

		pair->world = world;
		pair->a = i / n;
		pair->b = i % n;
		pair->mend.fire = mend;
		pair->silence.fire = silence;
		whi_list_init(&pair->held);
		world->wires[i].link.latency_ns = i / n == i % n ? LOOPBACK_NS : LATENCY_NS;
		/* So that segments of different connections overtake each other. */
		world->wires[i].link.jitter_ns = world->wires[i].link.latency_ns;
	}
}

void whi_sim_links_fini(struct whi_world *world)
{
	whi_sim_free(world->wires);
	whi_sim_free(world->pairs);
}
