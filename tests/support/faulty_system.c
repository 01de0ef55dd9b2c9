#include "support/faulty_system.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

const char *const faulty_call_names[FAULTY_CALLS] = {
	[FAULTY_MMAP] = "mmap",
	[FAULTY_MADVISE] = "madvise",
	[FAULTY_MPROTECT] = "mprotect",
	[FAULTY_SIGALTSTACK] = "sigaltstack",
	[FAULTY_PTHREAD_CREATE] = "pthread_create",
	[FAULTY_EVENTFD] = "eventfd",
	[FAULTY_EPOLL_CREATE] = "epoll_create1",
	[FAULTY_EPOLL_CTL] = "epoll_ctl",
	[FAULTY_RING_SETUP] = "io_uring_setup",
	[FAULTY_RING_PROBE] = "IORING_REGISTER_PROBE",
	[FAULTY_RING_REGISTER] = "IORING_REGISTER_RING_FDS",
	[FAULTY_BUF_RING_SETUP] = "IORING_REGISTER_PBUF_RING",
	[FAULTY_MEMFD] = "memfd_create",
	[FAULTY_SOCKETPAIR] = "socketpair",
	[FAULTY_SPAWN] = "posix_spawn",
	[FAULTY_SENDMSG] = "sendmsg",
};

/* Written while nobody else runs. */
static enum faulty_call chosen;
static struct faulty_pick plan;
static int plan_error;
static _Atomic uint64_t asked, failed;
static _Atomic int threads;

void faulty_system_set(enum faulty_call call, const struct faulty_pick *pick, int error)
{
	chosen = call;
	plan = *pick;
	plan_error = error;
	atomic_store(&asked, 0);
	atomic_store(&failed, 0);
}

uint64_t faulty_system_failed(void)
{
	return atomic_load(&failed);
}

int faulty_threads_live(void)
{
	return atomic_load(&threads);
}

static bool must_fail(enum faulty_call call)
{
	if (plan.first == 0 || call != chosen ||
	    !faulty_picks(&plan, atomic_fetch_add(&asked, 1) + 1))
		return false;
	atomic_fetch_add(&failed, 1);
	errno = plan_error;
	return true;
}

typedef struct io_uring_buf_ring *buf_ring_fn(struct io_uring *ring, unsigned entries, int group,
					      unsigned flags, int *ret);

buf_ring_fn __real_io_uring_setup_buf_ring, __wrap_io_uring_setup_buf_ring;

struct io_uring_buf_ring *__wrap_io_uring_setup_buf_ring(struct io_uring *ring, unsigned entries,
							 int group, unsigned flags, int *ret)
{
	if (!must_fail(FAULTY_BUF_RING_SETUP))
		return __real_io_uring_setup_buf_ring(ring, entries, group, flags, ret);
	*ret = -plan_error;
	return NULL;
}

typedef int create_fn(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
		      void *arg);
typedef int join_fn(pthread_t thread, void **result);

create_fn __real_pthread_create, __wrap_pthread_create;
join_fn __real_pthread_join, __wrap_pthread_join;

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg)
{
	int r = must_fail(FAULTY_PTHREAD_CREATE) ? plan_error
						 : __real_pthread_create(thread, attr, fn, arg);

	if (r == 0)
		atomic_fetch_add(&threads, 1);
	return r;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	atomic_fetch_sub(&threads, 1);
	return __real_pthread_join(thread, result);
}

typedef int sigaltstack_fn(const stack_t *stack, stack_t *old);

sigaltstack_fn __real_sigaltstack, __wrap_sigaltstack;

/* Going back to what was there before does not fail. */
int __wrap_sigaltstack(const stack_t *stack, stack_t *old)
{
	return old && must_fail(FAULTY_SIGALTSTACK) ? -1 : __real_sigaltstack(stack, old);
}

/* A wrapper for `name(params)` that fails with `failure`, or with -1. */
#define wrap(call, failure, result, name, params, args)                                            \
	result __real_##name params;                                                               \
	result __wrap_##name params;                                                               \
	result __wrap_##name params                                                                \
	{                                                                                          \
		return must_fail(call) ? (failure) : __real_##name args;                           \
	}

/* clang-format off */
wrap(FAULTY_MMAP, MAP_FAILED, void *, mmap,
     (void *address, size_t len, int prot, int flags, int fd, off_t offset),
     (address, len, prot, flags, fd, offset))
wrap(FAULTY_MADVISE, -1, int, madvise, (void *address, size_t len, int advice),
     (address, len, advice))
wrap(FAULTY_MPROTECT, -1, int, mprotect, (void *address, size_t len, int prot),
     (address, len, prot))
wrap(FAULTY_EVENTFD, -1, int, eventfd, (unsigned value, int flags), (value, flags))
wrap(FAULTY_EPOLL_CREATE, -1, int, epoll_create1, (int flags), (flags))
wrap(FAULTY_EPOLL_CTL, -1, int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *event),
     (epfd, op, fd, event))
wrap(FAULTY_MEMFD, -1, int, memfd_create, (const char *name, unsigned flags), (name, flags))
wrap(FAULTY_SOCKETPAIR, -1, int, socketpair, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds))
wrap(FAULTY_SENDMSG, -1, ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags),
     (fd, msg, flags))
/* It returns the error. */
wrap(FAULTY_SPAWN, plan_error, int, posix_spawn,
     (pid_t *pid, const char *path, const posix_spawn_file_actions_t *files,
      const posix_spawnattr_t *attr, char *const *arguments, char *const *environment),
     (pid, path, files, attr, arguments, environment))
/* liburing's functions return what the system call behind them did. */
wrap(FAULTY_RING_SETUP, -plan_error, int, io_uring_queue_init_params,
     (unsigned entries, struct io_uring *ring, struct io_uring_params *params),
     (entries, ring, params))
wrap(FAULTY_RING_PROBE, NULL, struct io_uring_probe *, io_uring_get_probe_ring,
     (struct io_uring *ring), (ring))
wrap(FAULTY_RING_REGISTER, -plan_error, int, io_uring_register_ring_fd, (struct io_uring *ring),
     (ring))
	/* clang-format on */
