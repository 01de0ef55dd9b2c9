/*
 * The server of the chat room. Each member has a task that receives and one that sends, and a
 * bounded queue between those who speak and the one who sends: whoever finds it full sends its
 * owner away.
 */
#include <errno.h>
#include <string.h>

#include "sim/chat.h"

struct chat_member {
	struct chat *chat;
	struct wh_sock *sock;
	struct wh_scope *scope;
	uint32_t session;
	uint32_t queue[CHAT_QUEUE_MAX]; /* places in the log */
	uint32_t head, len;
	uint32_t welcome;
	uint32_t bye; /* valid once it leaves */
	bool leaves, too_slow;
	struct gate gate;
};

static void send_away(struct chat_member *member)
{
	member->too_slow = true;
	member->chat->given_up[member->session] = true;
	wh_scope_cancel(member->scope);
}

static void tell(struct chat_member *member, uint32_t place)
{
	if (member->too_slow || (member->len == CHAT_QUEUE_MAX && member->chat->drops))
		return;
	if (member->len == CHAT_QUEUE_MAX) {
		send_away(member);
		return;
	}
	member->queue[(member->head + member->len++) % CHAT_QUEUE_MAX] = place;
	gate_open(&member->gate);
}

static int say(struct chat *chat, uint32_t len)
{
	uint32_t place = chat->said;

	if (place == CHAT_LOG_MAX)
		return wh_sim_fail("the log is full");
	chat->lens[chat->said++] = len;
	for (uint32_t i = 0; i < chat->members; i++)
		tell(chat->member[i], place);
	return 0;
}

static void leave(struct chat_member *member)
{
	struct chat *chat = member->chat;

	for (uint32_t i = 0; i < chat->members; i++)
		if (chat->member[i] == member) {
			chat->member[i] = chat->member[--chat->members];
			break;
		}
}

/* Sending */

static int send_frame(struct chat_member *member, enum chat_kind kind, uint32_t number,
		      uint32_t len)
{
	struct chat_head head = { .kind = kind, .number = number, .len = len };
	uint8_t frame[sizeof(head) + CHAT_BODY_MAX];

	memcpy(frame, &head, sizeof(head));
	pattern_fill(number, 0, frame + sizeof(head), len);
	return send_all(member->sock, frame, sizeof(head) + len);
}

static int send_queue(void *arg)
{
	struct chat_member *member = arg;
	int r = send_frame(member, CHAT_WELCOME, member->welcome, 0);

	while (r == 0 && !(member->leaves && member->len == 0)) {
		uint32_t place = member->queue[member->head % CHAT_QUEUE_MAX];

		if (member->len == 0) {
			r = gate_wait(&member->gate);
			continue;
		}
		member->head++;
		member->len--;
		r = send_frame(member, CHAT_MESSAGE, place, member->chat->lens[place]);
	}
	if (r == 0)
		r = send_frame(member, CHAT_BYE, member->bye, 0);
	return r;
}

/* Receiving */

static int listen_to(struct chat_member *member)
{
	uint8_t body[CHAT_BODY_MAX];
	struct chat_head head;
	int r;

	while ((r = recv_exactly(member->sock, &head, sizeof(head))) == 0) {
		if (head.kind == CHAT_LEAVE)
			return 0;
		if (head.kind != CHAT_SAY || head.number != member->session ||
		    head.len > CHAT_BODY_MAX)
			return wh_sim_fail("the server got a damaged frame");
		r = recv_exactly(member->sock, body, head.len);
		if (r == 0 && pattern_match(head.number, 0, body, head.len) < head.len)
			return wh_sim_fail("the server got a damaged body");
		if (r == 0)
			r = say(member->chat, head.len);
		if (r < 0)
			break;
	}
	return r;
}

static int host_member(struct chat_member *member)
{
	struct chat *chat = member->chat;
	struct wh_scope scope;
	int r;

	if (chat->members == CHAT_MEMBERS_MAX)
		return wh_sim_fail("too many members");
	wh_scope_open(&scope, NULL);
	member->scope = &scope;
	member->welcome = chat->said;
	chat->member[chat->members++] = member;
	r = wh_spawn(&scope, send_queue, member);
	if (r == 0)
		r = listen_to(member);
	leave(member);
	member->leaves = true;
	member->bye = chat->said;
	gate_open(&member->gate);
	if (r < 0)
		wh_scope_cancel(&scope);
	r = wh_scope_close(&scope);
	return member->too_slow ? -ECANCELED : r;
}

static int serve_connection(struct wh_sock *sock, void *arg)
{
	struct chat_member member = { .chat = arg, .sock = sock };
	struct chat_head head;

	if (recv_exactly(sock, &head, sizeof(head)) == 0) {
		member.session = head.number;
		if (head.kind != CHAT_HELLO || head.number >= CHAT_SESSIONS_MAX)
			wh_sim_fail("the server got a damaged hello");
		else if (host_member(&member) < 0)
			member.chat->given_up[head.number] = true;
	}
	wh_sock_close(sock);
	return 0;
}

int chat_serve(void *arg)
{
	struct wh_listener *listener;

	if (listen_on(CHAT_PORT, &listener) < 0)
		return 0;
	wh_serve(listener, serve_connection, arg, NULL);
	wh_listener_close(listener);
	return 0;
}
