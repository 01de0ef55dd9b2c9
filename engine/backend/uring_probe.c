/*
 * What io_uring offers here, found out by doing: a scratch ring, and one small use of each feature.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/uring.h"
#include "base/alloc.h"
#include "base/clock.h"

#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

enum { BUFS = 4, BUF_LEN = 64 };

struct report {
	struct wh_feature *features;
	int count;
};

static void add(struct report *report, const char *name, bool available, const char *why)
{
	if (report->count == WH_FEATURES_MAX)
		return;
	report->features[report->count++] = (struct wh_feature){
		.name = name, .available = available, .used = available, .why = why
	};
}

/* The next completion, copied; -errno if none comes soon. */
static int next_completion(struct io_uring *ring, struct io_uring_cqe *ret)
{
	struct __kernel_timespec soon = { .tv_nsec = 100 * 1000 * 1000 };
	struct io_uring_cqe *cqe;
	int r = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &soon, NULL);

	if (r < 0)
		return r;
	*ret = *cqe;
	io_uring_cqe_seen(ring, cqe);
	return 0;
}

static bool recv_once(struct io_uring *ring, const int fds[2])
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe cqe;

	io_uring_prep_recv_multishot(sqe, fds[0], NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 1;
	io_uring_submit(ring);
	for (int i = 0; i < 2; i++) {
		if (write(fds[1], "x", 1) != 1 || next_completion(ring, &cqe) < 0)
			return false;
		if (cqe.res != 1 || !(cqe.flags & IORING_CQE_F_BUFFER))
			return false;
	}
	return cqe.flags & IORING_CQE_F_MORE;
}

static void probe_recv(struct report *report, struct io_uring *ring)
{
	static char memory[BUFS][BUF_LEN];
	struct io_uring_buf_ring *bufs;
	bool works = false;
	int fds[2], r = 0;

	bufs = io_uring_setup_buf_ring(ring, BUFS, 1, 0, &r);
	add(report, "buffer rings", bufs != NULL,
	    bufs ? "receives take a buffer with the data" : "the kernel refuses them");
	if (!bufs)
		return;
	for (int i = 0; i < BUFS; i++)
		io_uring_buf_ring_add(bufs, memory[i], BUF_LEN, (unsigned short)i,
				      io_uring_buf_ring_mask(BUFS), i);
	io_uring_buf_ring_advance(bufs, BUFS);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0) {
		works = recv_once(ring, fds);
		close(fds[0]);
		close(fds[1]);
	}
	add(report, "multishot recv", works,
	    works ? "one submission receives many messages" : "two messages did not both arrive");
}

static bool accept_twice(struct io_uring *ring, int listener, const struct sockaddr_un *un,
			 socklen_t len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe cqe = { .res = -1 };
	bool works = true;
	int last = -1;

	io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	io_uring_submit(ring);
	for (int i = 0; i < 2; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		works = works && connect(fd, (const struct sockaddr *)un, len) == 0 &&
			next_completion(ring, &cqe) == 0 && cqe.res >= 0 && cqe.res != last;
		close(fd);
		if (!works)
			break;
		if (last >= 0)
			close(last);
		last = cqe.res;
	}
	if (last >= 0)
		close(last);
	return works && (cqe.flags & IORING_CQE_F_MORE);
}

static void probe_accept(struct report *report, struct io_uring *ring)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sa_family_t);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool works = false;

	/* The kernel chooses an abstract name for an empty one. */
	if (fd >= 0 && bind(fd, (struct sockaddr *)&un, len) == 0 && listen(fd, 4) == 0) {
		len = sizeof(un);
		getsockname(fd, (struct sockaddr *)&un, &len);
		works = accept_twice(ring, fd, &un, len);
	}
	if (fd >= 0)
		close(fd);
	add(report, "multishot accept", works,
	    works ? "one submission accepts many connections"
		  : "two connections did not both arrive");
}

static void probe_message(struct report *report, struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe cqe;
	bool works = false;

	io_uring_prep_msg_ring(sqe, ring->ring_fd, 7, 42, 0);
	for (int i = 0; i < 2 && next_completion(ring, &cqe) == 0; i++)
		works = works || (cqe.user_data == 42 && cqe.res == 7);
	add(report, "ring messages", works,
	    works ? "loops wake each other without an eventfd"
		  : "loops wake each other through an eventfd");
}

static void probe_setup(struct report *report, const struct whi_uring *u)
{
	unsigned flags = u->ring.flags;
	bool defer = flags & IORING_SETUP_DEFER_TASKRUN;

	add(report, "io_uring", true, "it is there and allowed");
	add(report, "deferred task work", defer,
	    defer ? "completions are made when the loop asks for them" : "Linux 6.1 has it");
	add(report, "no submission array", flags & IORING_SETUP_NO_SQARRAY,
	    "saves an indirection per submission; Linux 6.6 has it");
	add(report, "registered ring", u->enter_flags & IORING_ENTER_REGISTERED_RING,
	    "saves a descriptor look-up per system call");
	add(report, "no iowait", u->ring.features & IORING_FEAT_NO_IOWAIT,
	    "an idle loop does not show as iowait; Linux 6.15 has it");
}

static void probe_ops(struct report *report, const struct whi_uring *u)
{
	for (unsigned kind = 0; kind < WHI_OP_MAX; kind++) {
		const struct whi_opdef *def = &whi_opdefs[kind];

		if (!u->supported[def->opcode])
			add(report, def->name, false,
			    def->attempt ? "done with an ordinary system call instead"
					 : "fails with EOPNOTSUPP; a newer kernel has it");
	}
}

int whi_uring_probe(struct wh_feature ret[WH_FEATURES_MAX])
{
	struct whi_uring *u = whi_calloc(1, sizeof(*u));
	struct report report = { .features = ret };
	int r;

	if (!u)
		return -ENOMEM;
	u->opts = (struct whi_backend_opts){ .sq_entries = 8, .cq_entries = 32 };
	r = whi_uring_ring_open(u);
	if (r == 0) {
		probe_setup(&report, u);
		probe_message(&report, &u->ring);
		/* The multishot ones stay in flight until the ring goes. */
		probe_recv(&report, &u->ring);
		probe_accept(&report, &u->ring);
		probe_ops(&report, u);
		whi_uring_ring_close(u);
		r = report.count;
	}
	whi_free(u);
	return r;
}
