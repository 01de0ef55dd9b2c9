/* What the members and the server of the chat scenario share. */
#pragma once

#include "sim/scenario.h"

enum {
	CHAT_PORT = 23,
	CHAT_QUEUE_MAX = 4, /* messages that a member may be behind its socket */
	CHAT_MEMBERS_MAX = 64,
	CHAT_SESSIONS_MAX = 1024,
	CHAT_LOG_MAX = 8192,
	CHAT_BODY_MAX = 1500,
};

enum chat_kind { CHAT_HELLO, CHAT_SAY, CHAT_LEAVE, CHAT_WELCOME, CHAT_MESSAGE, CHAT_BYE };

/* Of every frame. To the server `number` is the session; from it, the place in the log: of the
 * first message that will come, of the message, of the first one that will not come any more. */
struct chat_head {
	uint32_t kind;
	uint32_t number;
	uint32_t len; /* of the body that follows, which is the pattern of `number` */
};

struct chat {
	uint32_t sessions; /* begun: the next one's number */
	uint32_t said;	   /* length of the log */
	uint32_t lens[CHAT_LOG_MAX];
	/* The server gave the session up: it was too slow, or its connection failed. */
	bool given_up[CHAT_SESSIONS_MAX];
	bool ended[CHAT_SESSIONS_MAX]; /* without a goodbye, nor an error that it was told of */
	uint32_t members;	       /* on the server */
	struct chat_member *member[CHAT_MEMBERS_MAX];
	bool drops; /* the planted bug: a message that finds the queue full is dropped */
};

/* Tasks; `arg` is a struct chat. */
int chat_serve(void *arg);
int chat_member_host(void *arg);
