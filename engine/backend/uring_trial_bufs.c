/*
 * The self-test's trials of receiving into buffers that the kernel picks.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/uring_trial.h"

static bool make_pair(struct whi_trial *t, int fds[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0)
		return true;
	whi_trial_lacked(t, errno);
	return false;
}

static void close_pair(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static bool put(int fd, const char *text)
{
	size_t len = strlen(text);

	return send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static struct io_uring_buf_ring *open_bufs(struct whi_trial *t, int group, unsigned flags)
{
	int r = 0;
	struct io_uring_buf_ring *bufs = io_uring_setup_buf_ring(t->ring, WHI_TRIAL_BUFS, group,
								 flags, &r);

	if (!bufs)
		whi_trial_lacked(t, -r);
	return bufs;
}

static void give(struct whi_trial *t, unsigned index)
{
	io_uring_buf_ring_add(t->bufs, t->memory[index], WHI_TRIAL_BUF_BYTES, (unsigned short)index,
			      io_uring_buf_ring_mask(WHI_TRIAL_BUFS), 0);
	io_uring_buf_ring_advance(t->bufs, 1);
}

static struct io_uring_sqe *queue_recv(struct whi_trial *t, int fd, int group, bool multishot)
{
	struct io_uring_sqe *sqe = whi_trial_entry(t);

	if (multishot)
		io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	else
		io_uring_prep_recv(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = (unsigned short)group;
	return sqe;
}

/* The completion of `text`, which was sent: in the buffer whose turn it is, which is then given
 * back. NULL: all is well. */
static const char *take_buffer(struct whi_trial *t, const char *text, bool more)
{
	struct io_uring_cqe cqe;
	unsigned index;

	if (!whi_trial_next(t, &cqe))
		return whi_trial_late;
	if (cqe.res < 0)
		return whi_trial_refused;
	index = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
	if (!(cqe.flags & IORING_CQE_F_BUFFER) || index != t->next_buf)
		return "a buffer came out of turn";
	if ((size_t)cqe.res != strlen(text) || memcmp(t->memory[index], text, strlen(text)) != 0)
		return whi_trial_wrong_bytes;
	if (more != !!(cqe.flags & IORING_CQE_F_MORE))
		return "it ended although nothing was wrong";
	give(t, index);
	t->next_buf = (t->next_buf + 1) % WHI_TRIAL_BUFS;
	return NULL;
}

/* More messages than there are buffers, so that each is used again. */
const char *whi_try_bufring(struct whi_trial *t)
{
	static const char *const texts[] = { "one", "two", "three", "four", "five and more" };
	const char *why = NULL;
	int fds[2];

	t->bufs = open_bufs(t, WHI_TRIAL_GROUP, 0);
	if (!t->bufs)
		return whi_trial_refused;
	for (unsigned i = 0; i < WHI_TRIAL_BUFS; i++)
		give(t, i);
	if (!make_pair(t, fds))
		return whi_trial_no_sockets;
	for (size_t i = 0; !why && i < sizeof(texts) / sizeof(texts[0]); i++) {
		queue_recv(t, fds[0], WHI_TRIAL_GROUP, false);
		why = put(fds[1], texts[i]) ? take_buffer(t, texts[i], false)
					    : whi_trial_no_sockets;
	}
	close_pair(fds);
	return why;
}

static const char *recv_end(struct whi_trial *t, int sender)
{
	struct io_uring_cqe cqe;

	shutdown(sender, SHUT_WR);
	if (!whi_trial_next(t, &cqe))
		return whi_trial_late;
	return cqe.res == 0 && !(cqe.flags & IORING_CQE_F_MORE) ? NULL
								: "the end of the data was lost";
}

const char *whi_try_multirecv(struct whi_trial *t)
{
	static const char *const texts[] = { "alpha", "be", "gamma delta" };
	const char *why = NULL;
	int fds[2];

	if (!t->bufs)
		return "it needs buffer rings";
	if (!make_pair(t, fds))
		return whi_trial_no_sockets;
	queue_recv(t, fds[0], WHI_TRIAL_GROUP, true);
	for (size_t i = 0; !why && i < sizeof(texts) / sizeof(texts[0]); i++)
		why = put(fds[1], texts[i]) ? take_buffer(t, texts[i], true) : whi_trial_no_sockets;
	if (!why)
		why = recv_end(t, fds[1]);
	close_pair(fds);
	return why;
}

static const char *take_increments(struct whi_trial *t, int sender)
{
	static const char *const texts[] = { "first", "2nd", "the third" };
	size_t offset = 0;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		size_t len = strlen(texts[i]);
		struct io_uring_cqe cqe;

		if (!put(sender, texts[i]) || !whi_trial_next(t, &cqe))
			return whi_trial_late;
		if (cqe.res < 0)
			return whi_trial_refused;
		if ((size_t)cqe.res != len || cqe.flags >> IORING_CQE_BUFFER_SHIFT != 0 ||
		    !(cqe.flags & IORING_CQE_F_BUF_MORE) ||
		    memcmp(t->long_memory + offset, texts[i], len) != 0)
			return whi_trial_wrong_bytes;
		offset += len;
	}
	return NULL;
}

/* One buffer that several messages fill, one behind the other. */
const char *whi_try_incremental(struct whi_trial *t)
{
	const char *why;
	int fds[2];

	t->incremental = open_bufs(t, WHI_TRIAL_GROUP_INC, IOU_PBUF_RING_INC);
	if (!t->incremental)
		return whi_trial_refused;
	io_uring_buf_ring_add(t->incremental, t->long_memory, WHI_TRIAL_LONG_BYTES, 0,
			      io_uring_buf_ring_mask(WHI_TRIAL_BUFS), 0);
	io_uring_buf_ring_advance(t->incremental, 1);
	why = whi_trial_no_sockets;
	if (make_pair(t, fds)) {
		queue_recv(t, fds[0], WHI_TRIAL_GROUP_INC, true);
		why = take_increments(t, fds[1]);
		close_pair(fds);
	}
	return why;
}

/* What one completion of a bundle brought, buffer by buffer; they are given back. */
static bool bundle_matches(struct whi_trial *t, const struct io_uring_cqe *cqe, const char *text)
{
	unsigned index = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

	if (!(cqe->flags & IORING_CQE_F_BUFFER) || index != t->next_buf)
		return false;
	for (size_t left = (size_t)cqe->res; left > 0; text += WHI_TRIAL_BUF_BYTES) {
		size_t len = left < WHI_TRIAL_BUF_BYTES ? left : WHI_TRIAL_BUF_BYTES;

		if (memcmp(t->memory[index], text, len) != 0)
			return false;
		give(t, index);
		index = (index + 1) % WHI_TRIAL_BUFS;
		left -= len;
	}
	t->next_buf = index;
	return true;
}

static const char *take_bundle(struct whi_trial *t, const int fds[2], const char *text)
{
	struct io_uring_cqe cqe;
	size_t len = strlen(text);

	if (!put(fds[1], text))
		return whi_trial_no_sockets;
	for (size_t taken = 0; taken < len; taken += (size_t)cqe.res) {
		queue_recv(t, fds[0], WHI_TRIAL_GROUP, false)->ioprio |= IORING_RECVSEND_BUNDLE;
		if (!whi_trial_next(t, &cqe))
			return whi_trial_late;
		if (cqe.res <= 0)
			return whi_trial_refused;
		if ((size_t)cqe.res > len - taken || !bundle_matches(t, &cqe, text + taken))
			return whi_trial_wrong_bytes;
	}
	return NULL;
}

/* Two bundles, the second of which wraps around the ring of buffers. */
const char *whi_try_bundle(struct whi_trial *t)
{
	const char *why;
	int fds[2];

	if (!t->bufs)
		return "it needs buffer rings";
	if (!(t->ring->features & IORING_FEAT_RECVSEND_BUNDLE))
		return whi_trial_refused;
	if (!make_pair(t, fds))
		return whi_trial_no_sockets;
	why = take_bundle(t, fds, "three buffers take this long line, in turn.");
	if (!why)
		why = take_bundle(t, fds, "And the next ones this, around the corner");
	close_pair(fds);
	return why;
}
