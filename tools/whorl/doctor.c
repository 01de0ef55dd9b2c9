/*
 * whorl doctor: what this machine offers the engine, and what to mend. Every line has a verdict:
 * ok, warn (it works, but not as well or not as far as it could) or bad (the engine cannot run).
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <whorl/run.h>
#include <whorl/task.h>

#include "cli.h"

enum verdict { OK, WARN, BAD };

enum {
	CHECKS_MAX = 32,
	TEXT_MAX = 640,
	PROBE_MS = 1500,     /* all of it takes 2 seconds at most */
	TRIALS_MAX = 50,     /* to find out how long one takes */
	TRIAL_MS_MAX = 20,   /* something is short: no more of them */
	GUARD_INSTALL = 102, /* MADV_GUARD_INSTALL: older C libraries do not name it */
	FILES_FEW = 16,
	FILES_PLENTY = 10000,
	RING_KIB = 84,	  /* what a loop's ring of the default size locks */
	MAPS_A_STACK = 5, /* 2 a stack, of 40 % of vm.max_map_count */
	BACKLOG_PLENTY = 4096,
	MEMORY_MIB = 64,
};

struct check {
	const char *name;
	enum verdict verdict;
	char value[TEXT_MAX];
	char cure[TEXT_MAX];
};

/* What is known of the engine itself, found out on a thread of its own: it may take too long. */
struct probe {
	struct wh_feature features[WH_FEATURES_MAX];
	int feature_count; /* or -errno */
	double trial_ms;   /* how long finding out about them took */
	int run_result;	   /* of a runtime with one loop */
	struct wh_backend_choice backend;
	char advice[TEXT_MAX];
};

static struct check checks[CHECKS_MAX];
static unsigned check_count;
static struct probe probe; /* all zero until the thread has ended */

__attribute__((format(printf, 3, 4))) static struct check *
add(const char *name, enum verdict verdict, const char *format, ...)
{
	struct check *check = &checks[check_count];
	va_list args;

	if (check_count < CHECKS_MAX - 1)
		check_count++;
	check->name = name;
	check->verdict = verdict;
	va_start(args, format);
	vsnprintf(check->value, sizeof(check->value), format, args);
	va_end(args);
	return check;
}

/* The cure is kept only where something is to be cured. */
__attribute__((format(printf, 2, 3))) static void cure(struct check *check, const char *format, ...)
{
	va_list args;

	if (check->verdict == OK)
		return;
	va_start(args, format);
	vsnprintf(check->cure, sizeof(check->cure), format, args);
	va_end(args);
}

/* The number in a file of /proc or /sys. False: it has none, or there is no such file. */
static bool read_number(const char *path, uint64_t *ret)
{
	FILE *file = fopen(path, "re");
	bool found;

	if (!file)
		return false;
	found = fscanf(file, "%" SCNu64, ret) == 1;
	fclose(file);
	return found;
}

/* The engine */

static int learn_backend(void *arg)
{
	return wh_backend_why(arg);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The median: a single one says more about what else the machine does. Rings are given back late,
 * so where locked memory is short there are few. */
static double time_trials(void)
{
	struct wh_feature features[WH_FEATURES_MAX];
	double times[TRIALS_MAX];
	unsigned count = 0;

	while (count < TRIALS_MAX) {
		uint64_t began = wh_now_ns();

		if (wh_probe(features) < 0)
			break;
		times[count++] = (double)(wh_now_ns() - began) / 1e6;
		if (times[count - 1] > TRIAL_MS_MAX)
			break;
	}
	qsort(times, count, sizeof(times[0]), by_value);
	return count ? times[count / 2] : 0;
}

static void *run_probe(void *arg)
{
	struct probe *ret = arg;
	const struct wh_run_opts opts = { .loops = 1, .keep_signals = true };

	ret->feature_count = wh_probe(ret->features);
	ret->run_result = wh_run(learn_backend, &ret->backend, &opts, NULL);
	/* wh_run_advice speaks to the thread that failed. */
	if (ret->run_result < 0)
		snprintf(ret->advice, sizeof(ret->advice), "%s", wh_run_advice(ret->run_result));
	ret->trial_ms = time_trials();
	return NULL;
}

/* -ENOMEM after PROBE_MS: while locked memory is short, making a ring waits for others to go. */
static int probe_in_time(void)
{
	static struct probe unfinished;
	struct timespec deadline;
	pthread_t thread;
	int r = pthread_create(&thread, NULL, run_probe, &unfinished);

	if (r != 0)
		return -r;
	/* pthread_clockjoin_np would take a better clock, but ThreadSanitizer does not know it. */
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += PROBE_MS / 1000;
	deadline.tv_nsec += PROBE_MS % 1000 * 1000000L;
	if (deadline.tv_nsec >= 1000000000L) {
		deadline.tv_sec++;
		deadline.tv_nsec -= 1000000000L;
	}
	if (pthread_timedjoin_np(thread, NULL, &deadline) != 0)
		return -ENOMEM;
	probe = unfinished;
	return probe.run_result;
}

static void check_kernel(void)
{
	struct utsname name;
	unsigned major = 0, minor = 0;
	struct check *check;

	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	check = add("kernel", major > 6 || (major == 6 && minor >= 1) ? OK : WARN, "%s %s, %s",
		    name.sysname, name.release, name.machine);
	cure(check, "the engine is made for Linux 6.1 and later");
}

/* Returns whether the engine runs as well as it can here. */
static bool check_backend(void)
{
	int r = probe_in_time();
	const struct wh_backend_choice *backend = &probe.backend;
	struct check *check;

	if (r < 0) {
		check = add("backend", BAD, "none: %s", strerror(-r));
		cure(check, "%s", probe.advice[0] ? probe.advice : wh_run_advice(r));
		return false;
	}
	check = add("backend", backend->fallback ? WARN : OK, "%s: %s", backend->name,
		    backend->why);
	cure(check, "%s", backend->cure);
	return !backend->fallback;
}

static void check_selftest(void)
{
	int working = 0;

	if (probe.feature_count <= 0)
		return;
	for (int i = 0; i < probe.feature_count; i++)
		working += probe.features[i].available;
	add("self-test", working == probe.feature_count ? OK : WARN,
	    "%d of %d features of io_uring work, tried in %.2f ms", working, probe.feature_count,
	    probe.trial_ms);
}

static void check_io_uring_disabled(bool runs)
{
	static const char *const meanings[] = {
		"0: everybody may use it",
		"1: only members of kernel.io_uring_group may use it",
		"2: nobody may use it",
	};
	uint64_t value;
	struct check *check;

	if (!read_number("/proc/sys/kernel/io_uring_disabled", &value)) {
		add("io_uring sysctl", OK, "this kernel has no kernel.io_uring_disabled");
		return;
	}
	check = add("io_uring sysctl", runs || value == 0 ? OK : WARN,
		    "kernel.io_uring_disabled = %s", value < 3 ? meanings[value] : "unknown");
	cure(check, "sysctl -w kernel.io_uring_disabled=0");
}

/* Limits */

static bool guard_pages(void)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (page == MAP_FAILED)
		return false;
	r = madvise(page, bytes, GUARD_INSTALL);
	munmap(page, bytes);
	return r == 0;
}

static void check_stacks(void)
{
	bool markers = guard_pages();
	uint64_t maps = 65530;
	struct check *check;

	check = add("stack guards", markers ? OK : WARN, "%s",
		    markers ? "markers, which cost no mapping" : "pages made with mprotect");
	cure(check, "Linux 6.13 has guard markers; without them tasks are limited as follows");
	read_number("/proc/sys/vm/max_map_count", &maps);
	if (markers) {
		add("mappings", OK, "vm.max_map_count = %" PRIu64 ", which does not limit tasks",
		    maps);
		return;
	}
	check = add("mappings", WARN,
		    "vm.max_map_count = %" PRIu64 ": %" PRIu64 " tasks have guarded stacks", maps,
		    maps / MAPS_A_STACK);
	cure(check, "for more, sysctl -w vm.max_map_count=1000000");
}

static const char *limit_text(rlim_t limit, uint64_t unit, const char *suffix, char text[32])
{
	if (limit == RLIM_INFINITY)
		return "unlimited";
	snprintf(text, 32, "%" PRIu64 "%s", (uint64_t)limit / unit, suffix);
	return text;
}

static void check_files(void)
{
	char soft[32], hard[32];
	enum verdict verdict = OK;
	struct rlimit limit;
	struct check *check;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < FILES_PLENTY)
		verdict = limit.rlim_max < FILES_FEW ? BAD : WARN;
	check = add("open files", verdict, "%s, may be raised to %s",
		    limit_text(limit.rlim_cur, 1, "", soft),
		    limit_text(limit.rlim_max, 1, "", hard));
	cure(check, "every connection takes one: raise the limit with ulimit -Hn 1048576 as root, "
		    "in limits.conf, or LimitNOFILE= of a service");
}

static unsigned cpus_allowed(void)
{
	cpu_set_t allowed;

	return sched_getaffinity(0, sizeof(allowed), &allowed) < 0 ? 1u
								   : (unsigned)CPU_COUNT(&allowed);
}

static void check_locked_memory(void)
{
	uint64_t need = (uint64_t)cpus_allowed() * RING_KIB * 1024;
	struct rlimit limit;
	struct check *check;
	char text[32];

	getrlimit(RLIMIT_MEMLOCK, &limit);
	check = add("locked memory", limit.rlim_cur < need ? WARN : OK,
		    "%s; a loop's ring takes %u KiB",
		    limit_text(limit.rlim_cur, 1024, " KiB", text), RING_KIB);
	cure(check, "with less, rings are smaller, and beyond that fail with ENOMEM: raise it with "
		    "ulimit -l, in limits.conf, or LimitMEMLOCK= of a service");
}

static void check_backlog(void)
{
	uint64_t backlog;
	struct check *check;

	if (!read_number("/proc/sys/net/core/somaxconn", &backlog))
		return;
	check = add("listen backlog", backlog < BACKLOG_PLENTY ? WARN : OK,
		    "net.core.somaxconn = %" PRIu64, backlog);
	cure(check, "bursts of connections beyond it are lost: sysctl -w net.core.somaxconn=%d",
	     BACKLOG_PLENTY);
}

static uint64_t memory_available(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	uint64_t kib = 0;
	char line[128];

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
			break;
	fclose(file);
	return kib / 1024;
}

static void check_machine(void)
{
	uint64_t mib = memory_available(), cgroup;
	struct check *check;

	add("CPUs", OK, "%u allowed: as many loops by default", cpus_allowed());
	if (read_number("/sys/fs/cgroup/memory.max", &cgroup) && cgroup >> 20 < mib)
		mib = cgroup >> 20;
	check = add("memory", mib < MEMORY_MIB ? WARN : OK, "%" PRIu64 " MiB available", mib);
	cure(check, "a suspended task takes about 4.3 KiB, a loop about 5 MiB");
}

/* Printing */

static const char *const verdict_names[] = { [OK] = "ok", [WARN] = "warn", [BAD] = "bad" };

static void print_text(void)
{
	for (unsigned i = 0; i < check_count; i++) {
		const struct check *check = &checks[i];

		printf("%-5s %-20s %s\n", verdict_names[check->verdict], check->name, check->value);
		if (check->cure[0])
			printf("      %-20s -> %s\n", "", check->cure);
	}
	for (int i = 0; i < probe.feature_count; i++) {
		const struct wh_feature *feature = &probe.features[i];

		printf("%-5s %-20s %s: %s\n", feature->available ? "ok" : "warn", feature->name,
		       feature->used	    ? "used"
		       : feature->available ? "available, not used"
					    : "missing",
		       feature->why);
	}
}

/* Everything printed here is plain text but for quotes and backslashes. */
static void print_string(const char *name, const char *text)
{
	printf("\"%s\":\"", name);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static void print_json(bool usable)
{
	printf("{\"name\":\"whorl_doctor\",\"usable\":%s,\"checks\":[", usable ? "true" : "false");
	for (unsigned i = 0; i < check_count; i++) {
		printf(i ? ",{" : "{");
		print_string("name", checks[i].name);
		putchar(',');
		print_string("value", checks[i].value);
		putchar(',');
		print_string("verdict", verdict_names[checks[i].verdict]);
		putchar(',');
		print_string("cure", checks[i].cure);
		putchar('}');
	}
	printf("],\"features\":[");
	for (int i = 0; i < probe.feature_count; i++) {
		const struct wh_feature *feature = &probe.features[i];

		printf(i ? ",{" : "{");
		print_string("name", feature->name);
		printf(",\"available\":%s,\"used\":%s,", feature->available ? "true" : "false",
		       feature->used ? "true" : "false");
		print_string("why", feature->why);
		putchar('}');
	}
	printf("]}\n");
}

static const char usage_text[] =
	"usage: whorl doctor [--json]\n\n"
	"Say what this machine offers the engine: the kernel, which backend the engine takes\n"
	"and why, what io_uring can do, found by trying, and limits. Each line is ok, warn or\n"
	"bad, and says how to mend what is not ok.\n\n"
	"  --json   print one line of JSON\n\n"
	"WHORL_BACKEND=uring|epoll chooses the backend. WHORL_URING_OFF=NAME,... does without\n"
	"features of io_uring: bufring, multirecv, multiaccept, msgring.\n\n"
	"Exit status 3 if something essential is missing.\n";

static int examine(bool json)
{
	bool usable = true;

	check_kernel();
	check_io_uring_disabled(check_backend());
	check_selftest();
	check_stacks();
	check_files();
	check_locked_memory();
	check_backlog();
	check_machine();
	for (unsigned i = 0; i < check_count; i++)
		usable = usable && checks[i].verdict != BAD;
	if (json)
		print_json(usable);
	else
		print_text();
	if (!cli_flush())
		return EXIT_FAILED;
	return usable ? EXIT_DONE : EXIT_MACHINE;
}

int cmd_doctor(int argc, char **argv)
{
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "--json", .flag = &json },
		{ 0 },
	};
	int operands;
	int r = cli_parse(argc, argv, options, &operands);

	if (r < 0) {
		fputs(usage_text, stdout);
		return cli_flush() ? EXIT_DONE : EXIT_FAILED;
	}
	if (r == 0 && operands > 0) {
		cli_error("doctor: takes no operands, but got '%s'", argv[1]);
		r = EXIT_USAGE;
	}
	return r > 0 ? r : examine(json);
}
