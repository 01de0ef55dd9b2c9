/*
 * Both ends of the rings that the program shares with a worker.
 *
 * Invariants
 * 1. A record lies in one piece: what does not fit before the ring's end begins at its start, and
 *    a record of padding fills the gap.
 * 2. Whoever writes a ring moves its tail, whoever reads it its head; nobody else.
 * 3. Sleeping is announced before the other side's tail is looked at for the last time, and a tail
 *    is moved before it is looked whether the reader sleeps; all four sequentially consistent.
 * 4. A request is begun or taken back, never both: one word decides, and each side changes it by
 *    compare and exchange. One before `request_head` has been read, and its place may be another's.
 *
 * Who wakes whom is modelled in process_rings.pml.
 */
#include "exec/process_rings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mman.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

_Static_assert(sizeof(struct whi_request) == WHI_RING_GRAIN, "a header is a grain");
_Static_assert(sizeof(struct whi_reply) == WHI_RING_GRAIN, "a header is a grain");
_Static_assert(WH_CALL_BYTES_MAX + WHI_RING_GRAIN <= WHI_REPLIES_MAX, "each answer finds room");

static uint32_t offset_of(uint32_t position)
{
	return position % WHI_RING_BYTES;
}

/* Padding before a record of `bytes` at `position`. */
static uint32_t gap_at(uint32_t position, uint32_t bytes)
{
	uint32_t left = WHI_RING_BYTES - offset_of(position);

	return bytes <= left ? 0 : left;
}

static int map_shared(int fd, struct whi_rings_shared **ret)
{
	void *memory = mmap(NULL, sizeof(**ret), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	*ret = memory;
	return 0;
}

static int make_memory(void)
{
	int fd = memfd_create("whorl-worker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(struct whi_rings_shared)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* The program's end */

int whi_rings_open(struct whi_rings *rings, int *ret_fd)
{
	int fd = make_memory();
	int r;

	if (fd < 0)
		return fd;
	*rings = (struct whi_rings){ 0 };
	r = map_shared(fd, &rings->shared);
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

void whi_rings_close(struct whi_rings *rings)
{
	munmap(rings->shared, sizeof(*rings->shared));
	rings->shared = NULL;
}

/* How far the worker says that it is, if that can be. */
static int look_at_head(struct whi_rings *rings)
{
	/* Pairs with the release in whi_worker_rings_drop. */
	uint32_t head = atomic_load_explicit(&rings->shared->request_head, memory_order_acquire);

	if (head % WHI_RING_GRAIN ||
	    head - rings->request_head > rings->request_tail - rings->request_head)
		return -EPROTO;
	rings->request_head = head;
	return 0;
}

static struct whi_request *request_at(struct whi_rings *rings, uint32_t position)
{
	return (struct whi_request *)(void *)(rings->shared->requests + offset_of(position));
}

static void write_request(struct whi_rings *rings, uint32_t bytes, const struct whi_request *head)
{
	struct whi_request *request = request_at(rings, rings->request_tail);

	atomic_store_explicit(&request->state, WHI_REQUEST_WAITS, memory_order_relaxed);
	request->bytes = bytes;
	request->kind = head->kind;
	request->flags = head->flags;
	request->ticket = head->ticket;
	request->job = head->job;
	request->args_len = head->args_len;
	request->result_max = head->result_max;
	rings->request_tail += bytes;
}

int whi_rings_put(struct whi_rings *rings, const struct whi_request *head, const void *args,
		  uint32_t *ret_position)
{
	const struct whi_request pad = { .kind = WHI_RECORD_PAD };
	uint32_t bytes = whi_record_bytes(head->args_len);
	uint32_t gap = gap_at(rings->request_tail, bytes);
	uint32_t used = rings->request_tail - rings->request_head;

	if (gap + bytes > WHI_RING_BYTES - used) {
		if (look_at_head(rings) < 0)
			return -EPROTO;
		used = rings->request_tail - rings->request_head;
		if (gap + bytes > WHI_RING_BYTES - used)
			return -EAGAIN;
	}
	if (gap)
		write_request(rings, gap, &pad);
	*ret_position = rings->request_tail;
	if (head->args_len)
		memcpy(request_at(rings, rings->request_tail) + 1, args, head->args_len);
	write_request(rings, bytes, head);
	return 0;
}

void whi_rings_unput(struct whi_rings *rings, uint32_t position)
{
	rings->request_tail = position;
}

static void wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void whi_rings_publish(struct whi_rings *rings)
{
	struct whi_rings_shared *shared = rings->shared;

	/* Pairs with the load in whi_worker_rings_next, and invariant 3. */
	atomic_store(&shared->request_tail, rings->request_tail);
	if (atomic_load(&shared->dozes) && atomic_exchange(&shared->dozes, 0))
		wake(&shared->dozes);
}

bool whi_rings_take_back(struct whi_rings *rings, uint32_t position)
{
	uint32_t expected = WHI_REQUEST_WAITS;

	/* Others may stand there since. */
	if (position - rings->request_head >= rings->request_tail - rings->request_head)
		return false;
	return atomic_compare_exchange_strong(&request_at(rings, position)->state, &expected,
					      WHI_REQUEST_TAKEN_BACK);
}

/* Whether a reply's header, of which nobody changes this copy, can be true. */
static bool reply_valid(const struct whi_rings *rings, const struct whi_reply *reply,
			uint32_t available)
{
	uint32_t left = WHI_RING_BYTES - offset_of(rings->reply_head);

	if (reply->bytes < WHI_RING_GRAIN || reply->bytes % WHI_RING_GRAIN ||
	    reply->bytes > available || reply->bytes > left)
		return false;
	if (reply->kind == WHI_RECORD_PAD)
		return reply->bytes == left && !rings->padded;
	return reply->kind == WHI_RECORD_REPLY &&
	       reply->result_len <= reply->bytes - WHI_RING_GRAIN;
}

int whi_rings_next_reply(struct whi_rings *rings, struct whi_reply *ret, const void **ret_bytes)
{
	for (;;) {
		/* Pairs with the store in whi_worker_rings_send. */
		uint32_t tail = atomic_load_explicit(&rings->shared->reply_tail,
						     memory_order_acquire);
		uint32_t available = tail - rings->reply_head;
		unsigned char *record = rings->shared->replies + offset_of(rings->reply_head);

		if (available == 0)
			return 0;
		if (available > WHI_RING_BYTES || available % WHI_RING_GRAIN)
			return -EPROTO;
		memcpy(ret, record, sizeof(*ret));
		/* The checks are of the copy, whatever becomes of the original. */
		__asm__ volatile("" ::: "memory");
		if (!reply_valid(rings, ret, available))
			return -EPROTO;
		rings->padded = ret->kind == WHI_RECORD_PAD;
		if (!rings->padded) {
			*ret_bytes = record + WHI_RING_GRAIN;
			return 1;
		}
		whi_rings_drop_reply(rings, ret);
	}
}

void whi_rings_drop_reply(struct whi_rings *rings, const struct whi_reply *reply)
{
	rings->reply_head += reply->bytes;
	/* Pairs with the load in free_for_replies. */
	atomic_store_explicit(&rings->shared->reply_head, rings->reply_head, memory_order_release);
}

bool whi_rings_want_bell(struct whi_rings *rings)
{
	atomic_store(&rings->shared->bell, 1);
	return atomic_load(&rings->shared->reply_tail) != rings->reply_head;
}

void whi_rings_want_nudge(struct whi_rings *rings)
{
	/* Pairs with the fence in whi_worker_rings_nudged, after which the worker sleeps: its head
	 * was moved before, and is looked at only after this. */
	atomic_store(&rings->shared->nudge, 1);
	atomic_thread_fence(memory_order_seq_cst);
}

/* The worker's end */

int whi_worker_rings_open(struct whi_worker_rings *rings, int fd)
{
	*rings = (struct whi_worker_rings){ 0 };
	return map_shared(fd, &rings->shared);
}

void whi_worker_rings_close(struct whi_worker_rings *rings)
{
	munmap(rings->shared, sizeof(*rings->shared));
}

struct whi_request *whi_worker_rings_next(struct whi_worker_rings *rings)
{
	struct whi_rings_shared *shared = rings->shared;

	/* Pairs with the store in whi_rings_publish. */
	if (atomic_load_explicit(&shared->request_tail, memory_order_acquire) ==
	    rings->request_head)
		return NULL;
	return (struct whi_request *)(void *)(shared->requests + offset_of(rings->request_head));
}

void whi_worker_rings_drop(struct whi_worker_rings *rings, const struct whi_request *request)
{
	rings->request_head += request->bytes;
	/* Pairs with the load in look_at_head. */
	atomic_store_explicit(&rings->shared->request_head, rings->request_head,
			      memory_order_release);
}

bool whi_worker_rings_nudged(struct whi_worker_rings *rings)
{
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load(&rings->shared->nudge) && atomic_exchange(&rings->shared->nudge, 0);
}

bool whi_worker_rings_lie_down(struct whi_worker_rings *rings)
{
	atomic_store(&rings->shared->dozes, 1);
	return atomic_load(&rings->shared->request_tail) == rings->request_head;
}

void whi_worker_rings_doze(struct whi_worker_rings *rings)
{
	struct whi_rings_shared *shared = rings->shared;

	if (whi_worker_rings_lie_down(rings))
		syscall(SYS_futex, &shared->dozes, FUTEX_WAIT, 1, NULL, NULL, 0);
	atomic_store(&shared->dozes, 0);
}

static uint32_t free_for_replies(const struct whi_worker_rings *rings)
{
	/* Pairs with the store in whi_rings_drop_reply. */
	uint32_t head = atomic_load_explicit(&rings->shared->reply_head, memory_order_acquire);

	return WHI_RING_BYTES - (rings->reply_tail - head);
}

struct whi_reply *whi_worker_rings_room(struct whi_worker_rings *rings, uint32_t result_max)
{
	uint32_t bytes = whi_record_bytes(result_max);
	uint32_t gap = gap_at(rings->reply_tail, bytes);
	unsigned char *ring = rings->shared->replies;

	/* WHI_REPLIES_MAX sees to it. */
	whi_assert(gap + bytes <= free_for_replies(rings));
	if (gap) {
		const struct whi_reply pad = { .bytes = gap, .kind = WHI_RECORD_PAD };

		memcpy(ring + offset_of(rings->reply_tail), &pad, sizeof(pad));
		rings->reply_tail += gap;
	}
	return (struct whi_reply *)(void *)(ring + offset_of(rings->reply_tail));
}

bool whi_worker_rings_send(struct whi_worker_rings *rings, struct whi_reply *reply)
{
	struct whi_rings_shared *shared = rings->shared;

	reply->bytes = whi_record_bytes(reply->result_len);
	reply->kind = WHI_RECORD_REPLY;
	rings->reply_tail += reply->bytes;
	/* Pairs with the load in whi_rings_next_reply, and invariant 3. */
	atomic_store(&shared->reply_tail, rings->reply_tail);
	return atomic_load(&shared->bell) && atomic_exchange(&shared->bell, 0);
}
