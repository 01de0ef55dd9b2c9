#include "support/pool_jobs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/task_test.h"

/* Jobs */

WH_JOB(nothing)
{
	(void)io;
	return 0;
}

WH_JOB(echo)
{
	return wh_job_answer(io, io->args, io->args_len);
}

WH_JOB(claim_too_much)
{
	io->result_len = io->result_max + 1;
	return 0;
}

WH_JOB(tell_pid)
{
	(void)io;
	return getpid();
}

WH_JOB(tell_parent)
{
	(void)io;
	return getppid();
}

WH_JOB(pass_gate)
{
	char byte = 'e';

	if (write(io->args_fd, &byte, 1) != 1)
		return -errno;
	return read(io->args_fd, &byte, 1) == 1 ? 7 : -EIO;
}

static _Atomic uint32_t *map_tally(int fd)
{
	void *memory = mmap(NULL, TALLY_COUNTS * sizeof(uint32_t), PROT_READ | PROT_WRITE,
			    MAP_SHARED, fd, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static int add_to_tally(const struct wh_job_io *io, bool may_die)
{
	const struct tally_args *args = io->args;
	_Atomic uint32_t *counts = map_tally(io->args_fd);
	uint32_t before;

	if (!counts)
		return -ENOMEM;
	before = atomic_fetch_add(&counts[args->index], 1);
	munmap((void *)counts, TALLY_COUNTS * sizeof(uint32_t));
	if (may_die && before < args->deaths)
		raise(SIGKILL);
	return (int)args->index;
}

WH_JOB(count)
{
	return add_to_tally(io, false);
}

WH_JOB(die_until)
{
	return add_to_tally(io, true);
}

/* Dies as its first argument byte says. */
WH_JOB(die)
{
	volatile uintptr_t nowhere = 8;

	switch (*(const char *)io->args) {
	case 's':
		signal(SIGSEGV, SIG_DFL);
		return *(volatile int *)nowhere;
	case 'k':
		return raise(SIGKILL);
	case 'x':
		_exit(3);
	case 'e':
		exit(0);
	default:
		signal(SIGABRT, SIG_DFL);
		abort();
	}
}

WH_JOB(burn)
{
	(void)io;
	for (volatile uint64_t i = 0;; i++)
		;
	return 0;
}

/* Allocates as many bytes as it is told, and touches them. */
WH_JOB(allocate)
{
	const size_t bytes = *(const size_t *)io->args;
	char *memory = malloc(bytes);

	if (!memory)
		return -ENOMEM;
	memset(memory, 1, bytes);
	__asm__ volatile("" : : "r"(memory) : "memory");
	free(memory);
	return 0;
}

/* The same, and keeps them. */
WH_JOB(hoard)
{
	const size_t bytes = *(const size_t *)io->args;
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);

	if (memory == MAP_FAILED)
		return -ENOMEM;
	memset(memory, 1, bytes);
	return 0;
}

/* The memory that this worker shares with the program. */
static unsigned char *find_rings(size_t *ret_len)
{
	unsigned long from = 0, to = 0;
	char line[4096];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "memfd:whorl-worker") && sscanf(line, "%lx-%lx", &from, &to) == 2)
			break;
	if (maps)
		fclose(maps);
	*ret_len = to - from;
	return (unsigned char *)from;
}

/* Writes numbers where they hurt: indices, states, the first records of both rings. Then dies. */
WH_JOB(scribble)
{
	uint64_t seed = *(const uint64_t *)io->args;
	size_t len;
	unsigned char *rings = find_rings(&len);
	uint64_t writes = random_next(&seed) % 100;

	while (rings && writes-- > 0) {
		static const size_t places[] = { 0, 4096, 4096 + 256 * 1024 };
		size_t at = places[random_next(&seed) % 3] + random_next(&seed) % 64 * 4;
		uint32_t small = (uint32_t)(random_next(&seed) % 8 * 32);
		uint32_t value = random_next(&seed) % 2 ? small : (uint32_t)random_next(&seed);

		memcpy(rings + at, &value, sizeof(value));
	}
	return raise(SIGKILL);
}

/* Hands back a memfd with the bytes of the one it got, turned round. */
WH_JOB(turn_round)
{
	char bytes[64];
	ssize_t n = pread(io->args_fd, bytes, sizeof(bytes), 0);

	if (n < 0)
		return -errno;
	io->result_fd = memfd_create("turned", MFD_CLOEXEC);
	for (ssize_t i = 0; i < n; i++)
		if (pwrite(io->result_fd, &bytes[n - 1 - i], 1, i) != 1)
			return -errno;
	return (int)n;
}

WH_JOB(give_nonsense)
{
	io->result_fd = 12345;
	return 0;
}

/* Open descriptors of the worker. */
WH_JOB(tell_fds)
{
	(void)io;
	return (int)open_fds();
}

/* What tests need */

void gate_open(struct gate *gate)
{
	int ends[2];

	check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	*gate = (struct gate){ ends[0], ends[1] };
}

void gate_close(struct gate *gate)
{
	close(gate->mine);
	close(gate->its);
}

void gate_await(const struct gate *gate)
{
	char byte;

	check_int(read(gate->mine, &byte, 1), 1);
}

void gate_let_through(const struct gate *gate)
{
	check_int(write(gate->mine, "g", 1), 1);
}

struct wh_call gate_call(const struct gate *gate)
{
	return (struct wh_call){ .job = "pass_gate", .args_fd = gate->its };
}

void tally_open(struct tally *tally)
{
	tally->fd = memfd_create("tally", MFD_CLOEXEC);
	check(tally->fd >= 0);
	check_int(ftruncate(tally->fd, TALLY_COUNTS * sizeof(uint32_t)), 0);
	tally->counts = map_tally(tally->fd);
	check(tally->counts != NULL);
}

void tally_close(struct tally *tally)
{
	munmap((void *)tally->counts, TALLY_COUNTS * sizeof(uint32_t));
	close(tally->fd);
}

struct wh_call tally_call(const struct tally *tally, const struct tally_args *args)
{
	return (struct wh_call){
		.job = args->deaths ? "die_until" : "count",
		.args = args,
		.args_len = sizeof(*args),
		.args_fd = tally->fd,
	};
}

void await_end(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	if (fd < 0) {
		check_int(errno, ESRCH);
		return;
	}
	check_int(poll(&poll_fd, 1, 10000), 1);
	close(fd);
}

int run_offload(void *arg)
{
	struct offload *offload = arg;
	const struct wh_offload_opts opts = { .kill = offload->kill };

	offload->r = wh_offload_opts(offload->executor, wh_job_run, &offload->call, &opts,
				     &offload->result);
	return 0;
}

struct wh_executor *open_pool(const struct wh_pool_opts *opts)
{
	struct wh_executor *executor = NULL;

	check_int(wh_pool_open(opts, &executor), 0);
	return executor;
}

int result_of(struct wh_executor *executor, const char *job)
{
	struct wh_call call = { .job = job };
	int result = -1;

	check_int(wh_offload(executor, wh_job_run, &call, &result), 0);
	return result;
}
