/*
 * Connections that end in a reset as soon as they can.
 *
 * usage: stress_resets PORT COUNT THREADS ECHOES
 *
 * COUNT connections, of which a quarter each resets at once, after a byte, after 5,000 bytes that
 * the server is just sending back, and, if ECHOES is 1, after having got an echo. Prints how long
 * that took.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "stress/client.h"

enum { THREADS_MAX = 64, KINDS = 4, LONG_BYTES = 5000, ECHO_BYTES = 64 };

static unsigned port;
static int echoes;
static uint64_t count;
static _Atomic uint64_t next, echoed;

static void ask(int fd, uint64_t index)
{
	char buf[ECHO_BYTES];
	ssize_t r;

	if (send(fd, pattern(index, 0), sizeof(buf), MSG_NOSIGNAL) != sizeof(buf))
		fail("send: %s", strerror(errno));
	r = recv(fd, buf, sizeof(buf), MSG_WAITALL);
	if (r != sizeof(buf))
		fail("connection %llu: no echo: %s", (unsigned long long)index,
		     r < 0 ? strerror(errno) : "closed");
	if (memcmp(buf, pattern(index, 0), sizeof(buf)) != 0)
		fail("connection %llu: the echo differs", (unsigned long long)index);
	echoed++;
}

static void one(uint64_t index)
{
	int fd = dial(port);

	if (fd < 0)
		fail("connection %llu: %s", (unsigned long long)index, strerror(-fd));
	switch (index % KINDS) {
	case 0:
		break;
	case 1:
		send(fd, "x", 1, MSG_NOSIGNAL);
		break;
	case 2:
		send(fd, pattern(index, 0), LONG_BYTES, MSG_NOSIGNAL);
		break;
	case 3:
		if (echoes)
			ask(fd, index);
		break;
	}
	reset(fd);
}

static void *work(void *arg)
{
	uint64_t index;

	(void)arg;
	while ((index = next++) < count)
		one(index);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS_MAX];
	double start = now_s();
	unsigned thread_count;

	if (argc != 5)
		fail("usage: stress_resets PORT COUNT THREADS ECHOES");
	port = (unsigned)number("PORT", argv[1], 1, 65535);
	count = number("COUNT", argv[2], 1, 1000000000);
	thread_count = (unsigned)number("THREADS", argv[3], 1, THREADS_MAX);
	echoes = (int)number("ECHOES", argv[4], 0, 1);
	for (unsigned i = 0; i < thread_count; i++)
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			fail("cannot start a thread");
	for (unsigned i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	printf("{\"count\":%llu,\"echoed\":%llu,\"seconds\":%.3f}\n", (unsigned long long)count,
	       (unsigned long long)echoed, now_s() - start);
	return 0;
}
