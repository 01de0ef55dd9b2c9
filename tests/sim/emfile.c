/*
 * Accept under EMFILE. The server's host has few descriptors, fewer than there are clients; each
 * client connects, asks, waits for its answer and holds the connection for a while. Later the
 * limit goes away.
 *
 * Invariants
 * 1. Nobody is lost: a client that is connected is answered, or told by an error; else the world
 *    says -EDEADLK or -ETIME.
 * 2. Accepting never spins: at most one backoff in 20 ms, and as many as there are connections.
 * 3. Every error is documented, and with the limit gone and faults stopped all are served in time.
 */
#include <errno.h>
#include <stdlib.h>

#include "sim/scenario.h"

enum {
	CLIENT_HOSTS = 2,
	CLIENTS = 5, /* of a host */
	VISITS = 3,  /* of a client */
	FDS_MAX = 5, /* of the server's host */
	PORT = 13,
};

#define LIMITED_NS (1 * WH_SEC)
#define BACKOFF_NS (20 * WH_MS)

struct crowd {
	uint64_t visits; /* begun */
	uint32_t answered;
};

static int answer(struct wh_sock *sock, void *arg)
{
	uint64_t word;

	(void)arg;
	while (recv_exactly(sock, &word, sizeof(word)) == 0) {
		word = ~word;
		if (send_all(sock, &word, sizeof(word)) < 0)
			break;
	}
	wh_sock_close(sock);
	return 0;
}

static int ask(struct wh_sock *sock, uint64_t word)
{
	uint64_t got;
	int r = send_all(sock, &word, sizeof(word));

	if (r == 0)
		r = recv_exactly(sock, &got, sizeof(got));
	if (r == 0 && got != ~word)
		return wh_sim_fail("a client got the answer to another question");
	return r;
}

static bool visit(struct crowd *crowd)
{
	struct wh_sock *sock;
	bool answered;

	if (dial(0, PORT, &sock) < 0)
		return false;
	answered = ask(sock, crowd->visits++) == 0;
	if (answered)
		pause_up_to(300 * WH_MS);
	wh_sock_close(sock);
	return answered;
}

static int client(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < VISITS && wh_cancelled() == 0;) {
		if (!visit(crowd)) {
			pause_up_to(50 * WH_MS);
			continue;
		}
		crowd->answered++;
		i++;
	}
	return 0;
}

static int client_host(void *arg)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	for (int i = 0; i < CLIENTS; i++)
		if (wh_spawn(&scope, client, arg) < 0)
			wh_sim_fail("a client could not be spawned");
	return wh_scope_close(&scope);
}

static int serve(void *arg)
{
	wh_serve(arg, answer, NULL, NULL);
	return 0;
}

static int lift_limit(void *arg)
{
	(void)arg;
	wh_sleep(LIMITED_NS);
	return wh_sim_set_fds_max(0, 0);
}

static int judge(const struct crowd *crowd, uint64_t took_ns)
{
	struct wh_loop_stats stats;

	wh_loop_stats(&stats);
	if (crowd->answered != CLIENT_HOSTS * CLIENTS * VISITS)
		return wh_sim_fail("%u visits were answered", crowd->answered);
	if (stats.accept_backoffs > took_ns / BACKOFF_NS + crowd->visits + 1)
		return wh_sim_fail("%llu backoffs in %llu ms",
				   (unsigned long long)stats.accept_backoffs,
				   (unsigned long long)(took_ns / WH_MS));
	return 0;
}

static int run(void *arg)
{
	struct crowd crowd = { 0 };
	uint64_t start_ns = wh_now_ns();
	struct wh_listener *listener;
	struct wh_scope scope;
	int r = listen_on(PORT, &listener);

	(void)arg;
	if (r < 0)
		return r;
	r = wh_sim_set_fds_max(0, FDS_MAX);
	wh_scope_open(&scope, NULL);
	if (r == 0)
		r = wh_spawn(&scope, serve, listener);
	if (r == 0)
		r = wh_spawn(&scope, lift_limit, NULL);
	if (r == 0)
		r = run_on_hosts(1, CLIENT_HOSTS, client_host, &crowd);
	if (r == 0)
		r = judge(&crowd, wh_now_ns() - start_ns);
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	wh_listener_close(listener);
	return r;
}

const struct wh_sim_scenario sim_emfile = {
	.name = "emfile",
	.about = "more clients than a server has descriptors for",
	.fn = run,
	.opts = { .hosts = 1 + CLIENT_HOSTS,
		  .faults = "storm",
		  .calm_after_ns = 2 * WH_SEC,
		  .time_max_ns = 300 * WH_SEC },
};
