/*
 * A ring that can do only what its program declared: the kernel refuses every other operation with
 * EACCES, whoever asks for it. The list is given to the kernel while the ring is still disabled,
 * and cannot be changed afterwards.
 *
 * What the loop itself cannot do without is always allowed: waking and being woken (a read of its
 * eventfd, messages between rings), cancelling, waiting for a descriptor or a time, closing.
 */
#include <errno.h>

#include "backend/uring.h"

enum { RULES_MAX = 64 };

struct rules {
	struct io_uring_restriction list[RULES_MAX];
	unsigned count;
};

static const uint8_t always[] = {
	IORING_OP_NOP,	    IORING_OP_READ,  IORING_OP_MSG_RING, IORING_OP_ASYNC_CANCEL,
	IORING_OP_POLL_ADD, IORING_OP_CLOSE, IORING_OP_TIMEOUT,
};

static const uint8_t net[] = {
	IORING_OP_SOCKET, IORING_OP_BIND, IORING_OP_LISTEN,  IORING_OP_ACCEPT,	IORING_OP_CONNECT,
	IORING_OP_RECV,	  IORING_OP_SEND, IORING_OP_RECVMSG, IORING_OP_SENDMSG, IORING_OP_SHUTDOWN,
};

static const uint8_t file[] = {
	IORING_OP_WRITE, IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
};

static const uint8_t path[] = {
	IORING_OP_OPENAT,   IORING_OP_STATX,   IORING_OP_UNLINKAT,
	IORING_OP_RENAMEAT, IORING_OP_MKDIRAT,
};

static const struct {
	uint32_t family; /* 0: always */
	const uint8_t *ops;
	unsigned count;
} families[] = {
	{ 0, always, sizeof(always) },
	{ WH_ALLOW_NET, net, sizeof(net) },
	{ WH_ALLOW_FILE, file, sizeof(file) },
	{ WH_ALLOW_PATH, path, sizeof(path) },
};

bool whi_uring_allows(uint32_t allow, uint8_t opcode)
{
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (allow && families[i].family && !(families[i].family & allow))
			continue;
		for (unsigned k = 0; k < families[i].count; k++)
			if (families[i].ops[k] == opcode)
				return true;
	}
	return allow == 0;
}

static void add(struct rules *rules, unsigned what, uint8_t value)
{
	rules->list[rules->count++] = (struct io_uring_restriction){
		.opcode = (uint16_t)what,
		.register_op = value,
	};
}

static void add_ops(struct rules *rules, const struct whi_uring *u)
{
	for (unsigned op = 0; op < IORING_OP_LAST; op++)
		if (u->supported[op] && whi_uring_allows(u->opts.restrict_ops, (uint8_t)op))
			add(rules, IORING_RESTRICTION_SQE_OP, (uint8_t)op);
}

int whi_uring_restrict(struct whi_uring *u)
{
	struct rules rules = { .count = 0 };

	add_ops(&rules, u);
	add(&rules, IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
	    IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS);
	/* Buffers are made with the first receive, and both are given back at the end. */
	add(&rules, IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_PBUF_RING);
	add(&rules, IORING_RESTRICTION_REGISTER_OP, IORING_UNREGISTER_PBUF_RING);
	add(&rules, IORING_RESTRICTION_REGISTER_OP, IORING_UNREGISTER_RING_FDS);
	add(&rules, IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_ENABLE_RINGS);
	return io_uring_register_restrictions(&u->ring, rules.list, rules.count);
}
