/*
 * A chat room. Members on three hosts join, say something now and then, and leave; some are slow to
 * read. The server gives every message its place in a log and sends it to all who are in the room;
 * who falls behind by more than a bounded queue is sent away. Whoever lost its connection joins
 * again, as a new session.
 *
 * Invariants
 * 1. A session gets every message from the place it was welcomed at, in the log's order, whole, up
 *    to the place at which the server says goodbye: never a hole, nothing twice.
 * 2. A session that ends without a goodbye was given up by the server, or told of an error.
 * 3. Every error is documented, and once faults have stopped every member gets through a session
 *    to its end, or is sent away for being slow.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/chat.h"

enum { HOSTS = 3, MEMBERS = 2 /* of a host */, SAYINGS_MAX = 6 };

struct session {
	struct chat *chat;
	struct wh_sock *sock;
	uint32_t number;
	uint64_t slow_ns; /* pause before each message */
	uint32_t next;	  /* place of the message that must come */
	bool welcomed;
	bool talk_failed; /* was told of an error, which is told once */
};

static int speak(struct session *session, enum chat_kind kind, uint32_t len)
{
	struct chat_head head = { .kind = kind, .number = session->number, .len = len };
	uint8_t frame[sizeof(head) + CHAT_BODY_MAX];

	memcpy(frame, &head, sizeof(head));
	pattern_fill(session->number, 0, frame + sizeof(head), len);
	return send_all(session->sock, frame, sizeof(head) + len);
}

static int talk(void *arg)
{
	struct session *session = arg;
	uint64_t sayings = between(1, SAYINGS_MAX);
	int r = speak(session, CHAT_HELLO, 0);

	for (uint64_t i = 0; r == 0 && i < sayings; i++) {
		r = pause_up_to(10 * WH_MS);
		if (r == 0)
			r = speak(session, CHAT_SAY, (uint32_t)wh_sim_random(CHAT_BODY_MAX + 1));
	}
	if (r == 0)
		r = speak(session, CHAT_LEAVE, 0);
	session->talk_failed = r < 0;
	/* A failure ends the one who hears too: the server may wait for more. */
	return r;
}

static int take_message(struct session *session, const struct chat_head *head)
{
	uint8_t body[CHAT_BODY_MAX];
	int r;

	if (head->number != session->next)
		return wh_sim_fail("session %u got message %u instead of %u", session->number,
				   head->number, session->next);
	if (head->number >= session->chat->said || head->len != session->chat->lens[head->number])
		return wh_sim_fail("session %u got a message that nobody wrote", session->number);
	r = recv_exactly(session->sock, body, head->len);
	if (r == 0 && pattern_match(head->number, 0, body, head->len) < head->len)
		return wh_sim_fail("session %u got message %u damaged", session->number,
				   head->number);
	session->next++;
	return r;
}

/* 1 once goodbye was said. */
static int take(struct session *session, const struct chat_head *head)
{
	if (head->kind == CHAT_WELCOME && !session->welcomed) {
		session->welcomed = true;
		session->next = head->number;
		return 0;
	}
	if (head->kind == CHAT_MESSAGE && session->welcomed)
		return take_message(session, head);
	if (head->kind != CHAT_BYE || !session->welcomed)
		return wh_sim_fail("session %u got a damaged frame", session->number);
	if (head->number != session->next)
		return wh_sim_fail("session %u was let go at %u, but only got up to %u",
				   session->number, head->number, session->next);
	return 1;
}

static int hear(struct session *session)
{
	int r = 0;

	while (r == 0) {
		struct chat_head head;

		if (session->slow_ns > 0)
			r = wh_sleep(session->slow_ns);
		if (r == 0)
			r = recv_exactly(session->sock, &head, sizeof(head));
		if (r == 0)
			r = take(session, &head);
	}
	return r;
}

/* 0 if the member is done. */
static int attend(struct session *session)
{
	struct wh_scope scope;
	int r = dial(0, CHAT_PORT, &session->sock);

	if (r < 0)
		return r;
	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, talk, session);
	if (r == 0)
		r = hear(session);
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	/* The server may hear of an error later than we see the end. */
	session->chat->ended[session->number] = r == -EPIPE && session->welcomed &&
						!session->talk_failed;
	wh_sock_close(session->sock);
	return r == 1 || (r == -EPIPE && session->slow_ns > 0) ? 0 : -EPIPE;
}

static int member(void *arg)
{
	struct chat *chat = arg;
	bool slow = wh_sim_random(4) == 0;
	int r = -EPIPE;

	while (r < 0 && wh_cancelled() == 0) {
		struct session session = { .chat = chat,
					   .number = chat->sessions++,
					   .slow_ns = slow ? between(1, 20) * WH_MS : 0 };

		if (session.number == CHAT_SESSIONS_MAX)
			return wh_sim_fail("a member never got through");
		r = attend(&session);
		if (r < 0)
			pause_up_to(100 * WH_MS);
	}
	return 0;
}

int chat_member_host(void *arg)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	for (int i = 0; i < MEMBERS; i++)
		if (wh_spawn(&scope, member, arg) < 0)
			wh_sim_fail("a member could not be spawned");
	return wh_scope_close(&scope);
}

static int judge(const struct chat *chat)
{
	for (uint32_t i = 0; i < chat->sessions; i++)
		if (chat->ended[i] && !chat->given_up[i])
			return wh_sim_fail("session %u ended without a goodbye", i);
	return 0;
}

static int run(void *arg)
{
	struct chat *chat = calloc(1, sizeof(*chat));
	struct wh_scope scope;
	int r;

	if (!chat)
		return -ENOMEM;
	chat->drops = planted(arg, "hole");
	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, chat_serve, chat);
	if (r == 0)
		r = run_on_hosts(1, HOSTS, chat_member_host, chat);
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	if (r == 0)
		r = judge(chat);
	free(chat);
	return r;
}

#define WORLD                                                                                      \
	{                                                                                          \
		.hosts = 1 + HOSTS, .faults = "storm", .calm_after_ns = 2 * WH_SEC,                \
		.time_max_ns = 300 * WH_SEC,                                                       \
	}

const struct wh_sim_scenario sim_chat = {
	.name = "chat",
	.about = "a chat room with slow members, who are sent away",
	.fn = run,
	.opts = WORLD,
};

const struct wh_sim_scenario sim_chat_hole = {
	.name = "chat:hole",
	.about = "the server drops what finds a member's queue full",
	.fn = run,
	.arg = (char[]){ "hole" },
	.opts = WORLD,
};
