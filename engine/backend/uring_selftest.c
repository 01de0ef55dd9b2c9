/*
 * The start-up self-test: the trials themselves. Each does, on a small ring and over sockets of its
 * own, what the engine does or might do, and looks at the bytes, their order and the descriptors.
 *
 * Everything that a trial waits for has happened by the time it looks: sockets of one thread,
 * within one machine. So a completion that is late is one that does not come.
 */
#include "backend/uring_selftest.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/uring_trial.h"
#include "base/assert.h"

enum { PATIENCE_NS = 100 * 1000 * 1000 };

const char whi_trial_late[] = "a completion did not arrive";
const char whi_trial_refused[] = "the kernel refuses it";
const char whi_trial_wrong_bytes[] = "the data was wrong, or not where the completion said";
const char whi_trial_no_sockets[] = "could not be tried: no sockets could be made";

struct io_uring_sqe *whi_trial_entry(struct whi_trial *t)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(t->ring);

	/* No trial queues more than a few between two completions. */
	whi_assert(sqe);
	/* Filling it in leaves that alone. */
	sqe->user_data = t->number;
	return sqe;
}

bool whi_trial_next_of(struct io_uring *ring, uint64_t user_data, struct io_uring_cqe *ret)
{
	struct __kernel_timespec patience = { .tv_nsec = PATIENCE_NS };
	struct io_uring_cqe *cqe;

	for (unsigned i = 0; i <= WHI_URING_FEATURES; i++) {
		if (io_uring_submit_and_wait_timeout(ring, &cqe, 1, &patience, NULL) < 0)
			return false;
		*ret = *cqe;
		io_uring_cqe_seen(ring, cqe);
		if (ret->user_data == user_data)
			return true;
	}
	return false;
}

bool whi_trial_next(struct whi_trial *t, struct io_uring_cqe *ret)
{
	return whi_trial_next_of(t->ring, t->number, ret);
}

void whi_trial_lacked(struct whi_trial *t, int err)
{
	if (err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS)
		t->verdicts->unsure = true;
}

/* Accepting */

/* On a name that the kernel chooses. -1: there can be none. */
static int make_listener(struct whi_trial *t, struct sockaddr_un *un, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*len = sizeof(*un);
	if (fd >= 0 && bind(fd, (struct sockaddr *)un, sizeof(sa_family_t)) == 0 &&
	    listen(fd, 4) == 0 && getsockname(fd, (struct sockaddr *)un, len) == 0)
		return fd;
	whi_trial_lacked(t, errno);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Connected, and `tag` was sent: whoever gets to read it has the right descriptor. */
static int make_client(const struct sockaddr_un *un, socklen_t len, char tag)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)un, len) == 0 &&
	    send(fd, &tag, 1, MSG_NOSIGNAL) == 1)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static const char *accept_one(struct whi_trial *t, char tag)
{
	struct io_uring_cqe cqe;
	char got = 0;
	bool right;

	if (!whi_trial_next(t, &cqe))
		return whi_trial_late;
	if (cqe.res < 0)
		return whi_trial_refused;
	right = recv(cqe.res, &got, 1, MSG_DONTWAIT | MSG_PEEK) == 1 && got == tag;
	/* Another number than the connection's may be anybody's. */
	if (right)
		close(cqe.res);
	if (!right)
		return "a descriptor was not that of its connection";
	return cqe.flags & IORING_CQE_F_MORE ? NULL : "it ended although nothing was wrong";
}

static const char *try_multiaccept(struct whi_trial *t)
{
	struct sockaddr_un un;
	socklen_t len;
	int listener = make_listener(t, &un, &len);
	const char *why = NULL;

	if (listener < 0)
		return whi_trial_no_sockets;
	io_uring_prep_multishot_accept(whi_trial_entry(t), listener, NULL, NULL, SOCK_CLOEXEC);
	for (char tag = 'a'; !why && tag <= 'c'; tag++) {
		int client = make_client(&un, len, tag);

		why = client < 0 ? whi_trial_no_sockets : accept_one(t, tag);
		if (client >= 0)
			close(client);
	}
	close(listener);
	return why;
}

static const char *use_direct(struct whi_trial *t, int slot, char tag)
{
	struct io_uring_sqe *sqe = whi_trial_entry(t);
	struct io_uring_cqe cqe;
	char got = 0;

	io_uring_prep_recv(sqe, slot, &got, 1, MSG_DONTWAIT);
	sqe->flags |= IOSQE_FIXED_FILE;
	if (!whi_trial_next(t, &cqe))
		return whi_trial_late;
	if (cqe.res != 1 || got != tag)
		return "a direct descriptor was not that of its connection";
	io_uring_prep_close_direct(whi_trial_entry(t), (unsigned)slot);
	if (!whi_trial_next(t, &cqe))
		return whi_trial_late;
	return cqe.res == 0 ? NULL : "a direct descriptor could not be closed";
}

static const char *accept_direct(struct whi_trial *t, int listener, char tag)
{
	struct io_uring_cqe cqe;

	io_uring_prep_accept_direct(whi_trial_entry(t), listener, NULL, NULL, 0,
				    IORING_FILE_INDEX_ALLOC);
	if (!whi_trial_next(t, &cqe))
		return whi_trial_late;
	if (cqe.res < 0)
		return whi_trial_refused;
	return cqe.res < WHI_TRIAL_BUFS ? use_direct(t, cqe.res, tag)
					: "a slot was not one of the table";
}

static const char *try_direct(struct whi_trial *t)
{
	struct sockaddr_un un;
	socklen_t len;
	const char *why = NULL;
	int listener;

	if (io_uring_register_files_sparse(t->ring, WHI_TRIAL_BUFS) < 0)
		return whi_trial_refused;
	listener = make_listener(t, &un, &len);
	if (listener < 0)
		return whi_trial_no_sockets;
	for (char tag = 'x'; !why && tag <= 'y'; tag++) {
		int client = make_client(&un, len, tag);

		why = client < 0 ? whi_trial_no_sockets : accept_direct(t, listener, tag);
		if (client >= 0)
			close(client);
	}
	close(listener);
	return why;
}

/* Messages between rings */

static const char *send_message(struct whi_trial *t, struct io_uring *peer, unsigned number)
{
	struct io_uring_sqe *sqe = whi_trial_entry(t);
	struct io_uring_cqe cqe;

	io_uring_prep_msg_ring(sqe, peer->ring_fd, number, 100 + number, 0);
	if (!whi_trial_next(t, &cqe))
		return whi_trial_late;
	if (cqe.res < 0)
		return whi_trial_refused;
	if (!whi_trial_next_of(peer, 100 + number, &cqe))
		return "a message did not arrive";
	return cqe.res == (int)number ? NULL : "a message was changed";
}

static const char *try_msgring(struct whi_trial *t)
{
	struct whi_uring peer = { .opts = t->u->opts };
	const char *why = NULL;
	int r;

	if (!t->u->supported[IORING_OP_MSG_RING])
		return whi_trial_refused;
	r = whi_uring_ring_open(&peer);
	if (r < 0) {
		t->verdicts->unsure = true;
		return "could not be tried: there was no second ring";
	}
	for (unsigned number = 1; !why && number <= 2; number++)
		why = send_message(t, &peer.ring, number);
	whi_uring_ring_close(&peer);
	return why;
}

/* Sending without copying */

/* A datagram socket that sends to itself: Unix sockets cannot send that way. */
static int make_mirror(struct whi_trial *t)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&in, len) == 0 &&
	    getsockname(fd, (struct sockaddr *)&in, &len) == 0 &&
	    connect(fd, (struct sockaddr *)&in, len) == 0)
		return fd;
	whi_trial_lacked(t, errno);
	if (fd >= 0)
		close(fd);
	return -1;
}

static const char *send_to_mirror(struct whi_trial *t, int fd)
{
	static const char text[] = "not copied";
	struct io_uring_sqe *sqe = whi_trial_entry(t);
	struct io_uring_cqe cqe;
	char got[sizeof(text)];

	io_uring_prep_send_zc(sqe, fd, text, sizeof(text), 0, 0);
	if (!whi_trial_next(t, &cqe))
		return whi_trial_late;
	if (cqe.res != (int)sizeof(text) || !(cqe.flags & IORING_CQE_F_MORE))
		return whi_trial_refused;
	if (recv(fd, got, sizeof(got), MSG_DONTWAIT) != (ssize_t)sizeof(text) ||
	    memcmp(got, text, sizeof(text)) != 0)
		return whi_trial_wrong_bytes;
	if (!whi_trial_next(t, &cqe))
		return whi_trial_late;
	return cqe.flags & IORING_CQE_F_NOTIF ? NULL : "the buffer was not given back";
}

static const char *try_sendzc(struct whi_trial *t)
{
	const char *why;
	int fd;

	if (!t->u->supported[IORING_OP_SEND_ZC])
		return whi_trial_refused;
	fd = make_mirror(t);
	if (fd < 0)
		return "could not be tried: there is no loopback network";
	why = send_to_mirror(t, fd);
	close(fd);
	return why;
}

void whi_uring_selftest(struct whi_uring *u, uint32_t mask, struct whi_uring_verdicts *ret)
{
	static const char *(*const trials[])(struct whi_trial * t) = {
		[WHI_URING_BUFRING] = whi_try_bufring,
		[WHI_URING_MULTIRECV] = whi_try_multirecv,
		[WHI_URING_MULTIACCEPT] = try_multiaccept,
		[WHI_URING_MSGRING] = try_msgring,
		[WHI_URING_INCREMENTAL] = whi_try_incremental,
		[WHI_URING_BUNDLE] = whi_try_bundle,
		[WHI_URING_SENDZC] = try_sendzc,
		[WHI_URING_DIRECT] = try_direct,
	};
	struct whi_trial t = { .u = u, .ring = &u->ring, .verdicts = ret };

	memset(ret, 0, sizeof(*ret));
	for (; t.number < WHI_URING_FEATURES; t.number++)
		if (mask & 1u << t.number)
			ret->why_not[t.number] = trials[t.number](&t);
	if (t.bufs)
		io_uring_free_buf_ring(&u->ring, t.bufs, WHI_TRIAL_BUFS, WHI_TRIAL_GROUP);
	if (t.incremental)
		io_uring_free_buf_ring(&u->ring, t.incremental, WHI_TRIAL_BUFS,
				       WHI_TRIAL_GROUP_INC);
	/* What a failed trial left in flight may point into `t`. */
	whi_uring_ring_close(u);
}
