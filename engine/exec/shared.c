/*
 * Shared data: locks that survive their owner, arrays over sealed memory.
 *
 * An array's memory begins with a head that describes it. Whoever adopts one checks the head
 * against the memory's size, which seals keep as it is, and goes by its own copy from then on.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <whorl/shared.h>

#include "base/alloc.h"
#include "base/mman.h"

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct wh_shared_lock), "a lock has room");
_Static_assert(sizeof(struct wh_shared_counter) == 64, "a counter has a cache line");

/* Locks */

static pthread_mutex_t *mutex_of(struct wh_shared_lock *lock)
{
	return (pthread_mutex_t *)(void *)lock->opaque;
}

int wh_shared_lock_init(struct wh_shared_lock *lock)
{
	pthread_mutexattr_t attr;
	int r;

	memset(lock, 0, sizeof(*lock));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	r = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (r == 0)
		r = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (r == 0)
		r = pthread_mutex_init(mutex_of(lock), &attr);
	pthread_mutexattr_destroy(&attr);
	return -r;
}

int wh_shared_lock_acquire(struct wh_shared_lock *lock)
{
	return -pthread_mutex_lock(mutex_of(lock));
}

int wh_shared_lock_try(struct wh_shared_lock *lock)
{
	return -pthread_mutex_trylock(mutex_of(lock));
}

int wh_shared_lock_mended(struct wh_shared_lock *lock)
{
	return -pthread_mutex_consistent(mutex_of(lock));
}

int wh_shared_lock_release(struct wh_shared_lock *lock)
{
	return -pthread_mutex_unlock(mutex_of(lock));
}

/* Arrays */

enum { HEAD_BYTES = 64, SEALS = F_SEAL_SHRINK | F_SEAL_GROW };

#define MAGIC UINT64_C(0x7961727261726877) /* "whrarray" in memory, lowest byte first */

struct head {
	uint64_t magic;
	uint64_t count;
	uint64_t element_bytes;
};

struct wh_shared_array {
	unsigned char *memory; /* the head, and then the elements */
	size_t bytes;
	size_t count;
	size_t element_bytes;
	int fd;
};

/* The bytes of it all, or false. */
static bool size_of(uint64_t count, uint64_t element_bytes, size_t *ret)
{
	return !__builtin_mul_overflow(count, element_bytes, ret) &&
	       !__builtin_add_overflow(*ret, HEAD_BYTES, ret) && *ret <= PTRDIFF_MAX;
}

/* Takes over `fd`, also if it fails. NULL: with -errno in `*ret_error`. */
static struct wh_shared_array *make_array(int fd, size_t bytes, int *ret_error)
{
	struct wh_shared_array *array = whi_calloc(1, sizeof(*array));

	*ret_error = -ENOMEM;
	if (!array)
		goto err_fd;
	array->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (array->memory == MAP_FAILED) {
		*ret_error = -errno;
		goto err_array;
	}
	array->bytes = bytes;
	array->fd = fd;
	return array;

err_array:
	whi_free(array);
err_fd:
	close(fd);
	return NULL;
}

static int make_memory(size_t bytes)
{
	int fd = memfd_create("whorl-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int wh_shared_array_open(size_t count, size_t element_bytes, struct wh_shared_array **ret)
{
	const struct head head = { MAGIC, count, element_bytes };
	struct wh_shared_array *array;
	size_t bytes;
	int fd, r;

	if (count == 0 || element_bytes == 0)
		return -EINVAL;
	if (!size_of(count, element_bytes, &bytes))
		return -EOVERFLOW;
	fd = make_memory(bytes);
	if (fd < 0)
		return fd;
	array = make_array(fd, bytes, &r);
	if (!array)
		return r;
	memcpy(array->memory, &head, sizeof(head));
	array->count = count;
	array->element_bytes = element_bytes;
	*ret = array;
	return 0;
}

/* The size of the memory behind `fd`, which nobody can make smaller any more. */
static int sealed_size(int fd, size_t *ret)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat stat;

	if (seals < 0)
		return errno == EBADF ? -EBADF : -EINVAL;
	if (!(seals & F_SEAL_SHRINK))
		return -EINVAL;
	if (fstat(fd, &stat) < 0)
		return -errno;
	*ret = (size_t)stat.st_size;
	return *ret >= HEAD_BYTES ? 0 : -EINVAL;
}

static int believe(struct wh_shared_array *array)
{
	struct head head;
	size_t bytes;

	memcpy(&head, array->memory, sizeof(head));
	/* The checks are of the copy, whatever becomes of the original. */
	__asm__ volatile("" : : "r"(&head) : "memory");
	if (head.magic != MAGIC || !head.count || !head.element_bytes ||
	    !size_of(head.count, head.element_bytes, &bytes) || bytes > array->bytes)
		return -EINVAL;
	array->count = head.count;
	array->element_bytes = head.element_bytes;
	return 0;
}

int wh_shared_array_from_fd(int fd, struct wh_shared_array **ret)
{
	struct wh_shared_array *array;
	size_t bytes = 0;
	int own, r = sealed_size(fd, &bytes);

	if (r < 0)
		return r;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return -errno;
	array = make_array(own, bytes, &r);
	if (!array)
		return r;
	r = believe(array);
	if (r < 0)
		wh_shared_array_close(array);
	else
		*ret = array;
	return r;
}

void wh_shared_array_close(struct wh_shared_array *array)
{
	munmap(array->memory, array->bytes);
	close(array->fd);
	whi_free(array);
}

void *wh_shared_array_at(const struct wh_shared_array *array, size_t index)
{
	return index < array->count ? array->memory + HEAD_BYTES + index * array->element_bytes
				    : NULL;
}

size_t wh_shared_array_count(const struct wh_shared_array *array)
{
	return array->count;
}

size_t wh_shared_array_element_bytes(const struct wh_shared_array *array)
{
	return array->element_bytes;
}

int wh_shared_array_fd(const struct wh_shared_array *array)
{
	return array->fd;
}
