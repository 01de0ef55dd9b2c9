/*
 * Question: what does one echoed message cost a server written on io_uring by hand?
 *
 * One thread and one ring, one io_uring_enter a turn. Connections are accepted straight into the
 * ring's own file table; each has a multishot receive that takes buffers from one mapped buffer
 * ring; what was received is sent from where it lies, and the buffer goes back when the send is
 * done. Sends of one connection follow each other, so bytes keep their order. A connection that
 * holds too many buffers because its peer does not read is not received from until it has sent
 * them. When no buffer is left, receives wait in a queue until one returns. On SIGTERM or SIGINT
 * the program prints one line of JSON; its system calls are counted as io_uring_enters.
 *
 * Not measured: more than one thread, TLS, the cost of opening connections, network cards (on
 * loopback, sending also pays for the receiver's half of the TCP stack), and the newer ways to
 * receive (bundles, buffers consumed in part), which lost bytes in some kernel releases.
 *
 * Invariants:
 * 1. A slot of the file table is closed, and its conn reused, only when no request of it is left.
 * 2. A buffer is either in the ring, in one connection's queue, or in a completion not yet seen.
 * 3. At most one send of a connection is in flight, of the buffer at the head of its queue.
 */
#include "echo_common.h"

#include <errno.h>
#include <getopt.h>
#include <liburing.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SQ_ENTRIES 512
#define CQ_ENTRIES 4096
#define SLOTS_MAX 65536
#define GROUP 0
#define HELD_MAX 8 /* buffers one connection may hold before it is paused */
#define ACCEPT_RETRY_NS 100000000
#define NONE UINT32_MAX

#define RING_FLAGS                                                                                 \
	(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |     \
	 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP |                \
	 IORING_SETUP_CQSIZE)

enum op {
	OP_ACCEPT,
	OP_RECV,
	OP_SEND,
	OP_CANCEL, /* of a receive */
	OP_CLOSE,
	OP_RETRY, /* accepting again after a failure */
	OP_SIGNAL
};

/* Indexed by slot of the file table. */
struct conn {
	uint32_t held_first; /* queue of buffers to send, linked through struct held */
	uint32_t held_last;
	uint32_t held_count;
	uint32_t offset;      /* bytes of the first buffer that have been sent */
	uint32_t parked_next; /* valid while parked */
	bool receiving : 1;   /* a multishot receive is in flight */
	bool sending : 1;
	bool cancelling : 1;
	bool parked : 1; /* waits for a free buffer */
	bool ending : 1; /* EOF seen: send what is held, then close */
	bool failed : 1; /* close without sending */
};

/* Indexed by buffer. */
struct held {
	uint32_t next;
	uint32_t len;
};

struct server {
	struct io_uring ring;
	struct io_uring_buf_ring *buf_ring;
	char *buffers;
	struct held *held;
	uint32_t buf_count;
	uint32_t buf_bytes;
	uint32_t buf_free;     /* in the ring, as far as completions have told */
	uint32_t buf_returned; /* added to the ring in this turn, not yet shown to the kernel */
	uint32_t parked_first;
	uint32_t parked_last;
	uint32_t slots;
	uint32_t slots_used;
	struct conn *conns;
	int listen_fd;
	int signal_fd;
	bool accepting; /* an accept is in flight */
	bool retry_armed;
	bool stopping;
	struct echo_stats stats;
};

static uint64_t tag(enum op op, uint32_t slot)
{
	return (uint64_t)op << 32 | slot;
}

static struct io_uring_sqe *sqe_get(struct server *server)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&server->ring);

	while (!sqe) {
		server->stats.syscalls++;
		io_uring_submit(&server->ring);
		sqe = io_uring_get_sqe(&server->ring);
	}
	return sqe;
}

/*
 * One connection an accept: a multishot accept goes on when every slot is taken, and the kernel
 * then drops a connection that its peer believes in. With one, what there is no slot for waits in
 * the backlog.
 */
static void accept_arm(struct server *server)
{
	struct io_uring_sqe *sqe = sqe_get(server);

	io_uring_prep_accept_direct(sqe, server->listen_fd, NULL, NULL, 0, IORING_FILE_INDEX_ALLOC);
	sqe->user_data = tag(OP_ACCEPT, 0);
	server->accepting = true;
}

static void accept_resume(struct server *server)
{
	if (!server->accepting && server->slots_used < server->slots)
		accept_arm(server);
}

static void cancel(struct server *server, uint64_t target, uint64_t user_data)
{
	struct io_uring_sqe *sqe = sqe_get(server);

	io_uring_prep_cancel64(sqe, target, 0);
	sqe->user_data = user_data;
}

static void recv_arm(struct server *server, uint32_t slot)
{
	struct io_uring_sqe *sqe = sqe_get(server);

	io_uring_prep_recv_multishot(sqe, (int)slot, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	sqe->user_data = tag(OP_RECV, slot);
	server->conns[slot].receiving = true;
}

static void recv_cancel(struct server *server, uint32_t slot)
{
	struct conn *conn = &server->conns[slot];

	if (!conn->receiving || conn->cancelling)
		return;
	cancel(server, tag(OP_RECV, slot), tag(OP_CANCEL, slot));
	conn->cancelling = true;
}

/* MSG_WAITALL lets the kernel wait for room and go on where a send fell short. */
static void send_arm(struct server *server, uint32_t slot)
{
	struct conn *conn = &server->conns[slot];
	uint32_t buf = conn->held_first;
	struct io_uring_sqe *sqe = sqe_get(server);

	io_uring_prep_send(sqe, (int)slot,
			   server->buffers + (size_t)buf * server->buf_bytes + conn->offset,
			   server->held[buf].len - conn->offset, MSG_WAITALL);
	sqe->flags |= IOSQE_FIXED_FILE;
	sqe->user_data = tag(OP_SEND, slot);
	conn->sending = true;
}

static void buf_return(struct server *server, uint32_t buf)
{
	io_uring_buf_ring_add(server->buf_ring, server->buffers + (size_t)buf * server->buf_bytes,
			      server->buf_bytes, (unsigned short)buf,
			      io_uring_buf_ring_mask(server->buf_count),
			      (int)server->buf_returned++);
}

static void held_push(struct server *server, struct conn *conn, uint32_t buf, uint32_t len)
{
	server->held[buf] = (struct held){ .next = NONE, .len = len };
	if (conn->held_count++)
		server->held[conn->held_last].next = buf;
	else
		conn->held_first = buf;
	conn->held_last = buf;
}

static void held_pop(struct server *server, struct conn *conn)
{
	uint32_t buf = conn->held_first;

	conn->held_first = server->held[buf].next;
	conn->held_count--;
	conn->offset = 0;
	buf_return(server, buf);
}

static void park(struct server *server, uint32_t slot)
{
	struct conn *conn = &server->conns[slot];

	conn->parked = true;
	conn->parked_next = NONE;
	if (server->parked_first == NONE)
		server->parked_first = slot;
	else
		server->conns[server->parked_last].parked_next = slot;
	server->parked_last = slot;
}

static void conn_close(struct server *server, uint32_t slot)
{
	struct conn *conn = &server->conns[slot];
	struct io_uring_sqe *sqe;

	server->stats.errors += conn->failed;
	sqe = sqe_get(server);
	io_uring_prep_close_direct(sqe, slot);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = tag(OP_CLOSE, slot);
	*conn = (struct conn){ 0 };
	server->slots_used--;
	accept_resume(server);
}

static void conn_abandon(struct server *server, uint32_t slot)
{
	struct conn *conn = &server->conns[slot];

	recv_cancel(server, slot);
	while (conn->held_count && !conn->sending)
		held_pop(server, conn);
}

/* What a connection does next follows from its state alone, whichever completion came last. */
static void conn_step(struct server *server, uint32_t slot)
{
	struct conn *conn = &server->conns[slot];

	if (conn->failed)
		conn_abandon(server, slot);
	else if (conn->held_count && !conn->sending)
		send_arm(server, slot);
	if (conn->receiving || conn->sending || conn->cancelling || conn->parked)
		return;
	if (conn->failed || (conn->ending && !conn->held_count))
		conn_close(server, slot);
	else if (!conn->ending && conn->held_count <= HELD_MAX / 2)
		recv_arm(server, slot);
}

/*
 * One parked connection goes on for each free buffer: more would only find the ring empty again.
 * Those that find nothing to receive leave their buffer to the next turn's.
 */
static void unpark(struct server *server)
{
	uint32_t credit = server->buf_free;

	while (credit && server->parked_first != NONE) {
		uint32_t slot = server->parked_first;
		struct conn *conn = &server->conns[slot];

		server->parked_first = conn->parked_next;
		conn->parked = false;
		conn_step(server, slot);
		credit--;
	}
}

static void on_recv(struct server *server, uint32_t slot, const struct io_uring_cqe *cqe)
{
	struct conn *conn = &server->conns[slot];

	if (!(cqe->flags & IORING_CQE_F_MORE))
		conn->receiving = false;
	if (cqe->flags & IORING_CQE_F_BUFFER) {
		uint32_t buf = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

		server->buf_free--;
		if (cqe->res > 0) {
			held_push(server, conn, buf, (uint32_t)cqe->res);
			server->stats.echoes++;
		} else {
			buf_return(server, buf);
		}
	}
	if (cqe->res == 0)
		conn->ending = true;
	else if (cqe->res == -ENOBUFS)
		park(server, slot);
	else if (cqe->res < 0 && cqe->res != -ECANCELED)
		conn->failed = true;
	if (conn->held_count > HELD_MAX)
		recv_cancel(server, slot);
	conn_step(server, slot);
}

static void on_send(struct server *server, uint32_t slot, const struct io_uring_cqe *cqe)
{
	struct conn *conn = &server->conns[slot];

	conn->sending = false;
	if (cqe->res < 0) {
		conn->failed = true;
	} else {
		server->stats.bytes += (uint64_t)cqe->res;
		conn->offset += (uint32_t)cqe->res;
		if (conn->offset == server->held[conn->held_first].len)
			held_pop(server, conn);
	}
	conn_step(server, slot);
}

/* Armed again at once it would fail at once: try again in a while, or when something closes. */
static void accept_retry_later(struct server *server)
{
	static struct __kernel_timespec wait = { .tv_nsec = ACCEPT_RETRY_NS };
	struct io_uring_sqe *sqe;

	if (server->retry_armed)
		return;
	sqe = sqe_get(server);
	io_uring_prep_timeout(sqe, &wait, 0, 0);
	sqe->user_data = tag(OP_RETRY, 0);
	server->retry_armed = true;
}

static void on_accept(struct server *server, const struct io_uring_cqe *cqe)
{
	server->accepting = false;
	if (cqe->res >= 0) {
		server->stats.connections++;
		server->slots_used++;
		recv_arm(server, (uint32_t)cqe->res);
	} else if (cqe->res != -ECANCELED) {
		server->stats.errors++;
		if (cqe->res != -ECONNABORTED)
			accept_retry_later(server);
	}
	if (!server->retry_armed)
		accept_resume(server);
}

static void dispatch(struct server *server, const struct io_uring_cqe *cqe)
{
	uint32_t slot = (uint32_t)cqe->user_data;

	switch ((enum op)(cqe->user_data >> 32)) {
	case OP_RECV:
		on_recv(server, slot, cqe);
		break;
	case OP_SEND:
		on_send(server, slot, cqe);
		break;
	case OP_ACCEPT:
		on_accept(server, cqe);
		break;
	case OP_CANCEL:
		server->conns[slot].cancelling = false;
		conn_step(server, slot);
		break;
	case OP_RETRY:
		server->retry_armed = false;
		accept_resume(server);
		break;
	case OP_SIGNAL:
		server->stopping = true;
		break;
	case OP_CLOSE:
		break;
	}
}

static void turn_end(struct server *server, unsigned int seen)
{
	io_uring_cq_advance(&server->ring, seen);
	if (server->buf_returned) {
		io_uring_buf_ring_advance(server->buf_ring, (int)server->buf_returned);
		server->buf_free += server->buf_returned;
		server->buf_returned = 0;
	}
	unpark(server);
}

/* Submit, and sleep until something completes, unless a parked connection has its turn now. */
static int turn_begin(struct server *server)
{
	server->stats.syscalls++;
	if (server->parked_first != NONE && server->buf_free)
		return io_uring_submit_and_get_events(&server->ring);
	return io_uring_submit_and_wait(&server->ring, 1);
}

static int serve(struct server *server)
{
	while (!server->stopping) {
		struct io_uring_cqe *cqe;
		unsigned int head, seen = 0;
		int r = turn_begin(server);

		if (r < 0 && r != -EINTR && r != -EBUSY && r != -EAGAIN)
			return r;
		io_uring_for_each_cqe(&server->ring, head, cqe) {
			dispatch(server, cqe);
			seen++;
		}
		turn_end(server, seen);
	}
	return 0;
}

static int ring_open(struct server *server)
{
	struct io_uring_params params = { .flags = RING_FLAGS | IORING_SETUP_NO_SQARRAY,
					  .cq_entries = CQ_ENTRIES };
	int r = io_uring_queue_init_params(SQ_ENTRIES, &server->ring, &params);

	if (r == -EINVAL) {
		params = (struct io_uring_params){ .flags = RING_FLAGS, .cq_entries = CQ_ENTRIES };
		r = io_uring_queue_init_params(SQ_ENTRIES, &server->ring, &params);
	}
	if (r < 0)
		return r;
	r = io_uring_register_ring_fd(&server->ring);
	return r < 0 ? r : 0;
}

static int buffers_open(struct server *server)
{
	size_t bytes = (size_t)server->buf_count * server->buf_bytes;
	int r;

	server->buffers = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (server->buffers == MAP_FAILED)
		return -ENOMEM;
	server->held = calloc(server->buf_count, sizeof(*server->held));
	if (!server->held)
		return -ENOMEM;
	server->buf_ring = io_uring_setup_buf_ring(&server->ring, server->buf_count, GROUP, 0, &r);
	if (!server->buf_ring)
		return r;
	for (uint32_t i = 0; i < server->buf_count; i++)
		buf_return(server, i);
	return 0;
}

static int slots_open(struct server *server)
{
	uint64_t files = file_limit_raise();
	int r;

	server->slots = files < SLOTS_MAX ? (uint32_t)files : SLOTS_MAX;
	server->conns = calloc(server->slots, sizeof(*server->conns));
	if (!server->conns)
		return -ENOMEM;
	r = io_uring_register_files_sparse(&server->ring, server->slots);
	return r < 0 ? r : 0;
}

static int server_init(struct server *server, const struct endpoint *endpoint)
{
	struct io_uring_sqe *sqe;
	int r;

	server->parked_first = NONE;
	r = ring_open(server);
	if (r < 0)
		return r;
	r = buffers_open(server);
	if (r < 0)
		return r;
	r = slots_open(server);
	if (r < 0)
		return r;
	server->signal_fd = termination_fd_open();
	if (server->signal_fd < 0)
		return server->signal_fd;
	server->listen_fd = endpoint_listen(endpoint);
	if (server->listen_fd < 0)
		return server->listen_fd;
	sqe = sqe_get(server);
	io_uring_prep_poll_add(sqe, server->signal_fd, POLLIN);
	sqe->user_data = tag(OP_SIGNAL, 0);
	accept_arm(server);
	turn_end(server, 0);
	return 0;
}

static const char *arguments_parse(int argc, char **argv, struct server *server)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "buffers", required_argument, NULL, 'b' },
		{ "buffer-bytes", required_argument, NULL, 'y' },
		{ 0 },
	};
	const char *listen = NULL;
	uint64_t count = 1024, bytes = 2048;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'l')
			listen = optarg;
		else if (c == 'b' && number_parse(optarg, 1, 32768, &count))
			return NULL;
		else if (c == 'y' && number_parse(optarg, 1, 1 << 20, &bytes))
			return NULL;
		else if (c == '?')
			return NULL;
	}
	server->buf_count = (uint32_t)count;
	server->buf_bytes = (uint32_t)bytes;
	/* A buffer ring's size is a power of two. */
	return optind == argc && !(count & (count - 1)) ? listen : NULL;
}

int main(int argc, char **argv)
{
	static struct server server;
	const char *listen = arguments_parse(argc, argv, &server);
	struct endpoint endpoint;
	int r;

	if (!listen || endpoint_parse(listen, &endpoint)) {
		fprintf(stderr, "usage: uring_echo --listen ADDR:PORT|unix:PATH"
				" [--buffers POWER_OF_TWO] [--buffer-bytes N]\n");
		return 2;
	}
	r = server_init(&server, &endpoint);
	if (r < 0) {
		fprintf(stderr, "uring_echo: cannot serve on %s: %s\n", listen, strerror(-r));
		return 1;
	}
	r = serve(&server);
	endpoint_unlink(&endpoint);
	echo_stats_print("uring_echo", &server.stats);
	if (r < 0)
		fprintf(stderr, "uring_echo: waiting failed: %s\n", strerror(-r));
	return r < 0;
}
