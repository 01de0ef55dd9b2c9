/* Owns the secret of the hash.
 *
 * 1. It is there before main, and changes only in processes that map for another one, before they
 *    hash anything of that, and for a job that another process has begun, while no job hashes.
 * 2. No word of it is zero unless the seed leads there, which nobody can know. */
#include "mapreduce/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"

/* Of seed 0: pi, and the numbers of wyhash. */
static const struct whi_hash_secret known = {
	.rounds = {
		{ 0x13198a2e03707344u, 0x243f6a8885a308d3u },
		{ 0x082efa98ec4e6c89u, 0xa4093822299f31d0u },
		{ 0x452821e638d01377u, 0xbe5466cf34e90c6cu },
	},
	.windows = {
		{ 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu },
		{ 0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u },
		{ 0x1d8e4e27c47d124fu, 0xeb44accab455d165u },
		{ 0x9c6e6877736c46e3u, 0x2d358dccaa6c78a5u },
	},
	.begin = 0,
	.end = 0xd6e8feb86659fd93u,
	.low = 0x8ebc6af09c88c6e3u,
	.high = 0xe7037ed1a0b428dbu,
	.step = 0xa0761d6478bd642fu,
};

struct whi_hash_secret whi_hash_secret;
static uint64_t seed;
static bool is_fixed; /* by the user */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned jobs; /* that may be hashing; under `lock` */

/* The next number of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
 * Generators"). */
static uint64_t next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

void whi_hash_adopt(uint64_t from)
{
	uint64_t words[sizeof(whi_hash_secret) / sizeof(uint64_t)];
	uint64_t state = from;

	if (from == seed && from != 0)
		return;
	seed = from;
	if (from == 0) {
		whi_hash_secret = known;
		return;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		words[i] = next(&state);
	memcpy(&whi_hash_secret, words, sizeof(words));
}

uint64_t whi_hash_seed(void)
{
	return seed;
}

void whi_hash_begin(void)
{
	pthread_mutex_lock(&lock);
	jobs++;
	pthread_mutex_unlock(&lock);
}

void whi_hash_end(void)
{
	pthread_mutex_lock(&lock);
	jobs--;
	pthread_mutex_unlock(&lock);
}

bool whi_hash_go_on(uint64_t from)
{
	bool is_seed;

	pthread_mutex_lock(&lock);
	if (jobs == 1 && !is_fixed)
		whi_hash_adopt(from);
	is_seed = seed == from;
	pthread_mutex_unlock(&lock);
	return is_seed;
}

/* Not when a job starts: others may be hashing then. */
__attribute__((constructor)) static void draw(void)
{
	const char *asked = getenv("WHORL_HASH_SEED");
	uint64_t drawn = 0;

	if (asked && *asked) {
		is_fixed = true;
		whi_hash_adopt(strtoull(asked, NULL, 0));
		return;
	}
	/* Before the kernel has collected any chance, the time has to do. */
	if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) != sizeof(drawn))
		drawn = whi_clock_ns() ^ (uint64_t)getpid() << 40;
	whi_hash_adopt(drawn ? drawn : 1);
}
