/*
 * whorl load: puts an echo server under load. Here is what a person sees: options, messages and
 * results. What is done on the engine is in load_run.c.
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum {
	LOOPS_MAX = 1024,
	CONNECTIONS_MAX = 1000000,
	SIZE_MAX_BYTES = 1 << 30,
	RATE_MAX = 100000000,
	FILES_BASE = 16,    /* the program's own, generously */
	FILES_PER_LOOP = 2, /* a ring and an eventfd */
};

struct percentile {
	const char *name;
	const char *key;
	uint32_t parts;
};

static const struct percentile percentiles[] = {
	{ "p50", "p50_ns", 500000 },	  { "p90", "p90_ns", 900000 },
	{ "p99", "p99_ns", 990000 },	  { "p99.9", "p999_ns", 999000 },
	{ "p99.99", "p9999_ns", 999900 },
};

enum { PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]) };

static const char *target; /* the address as given */

/* What went wrong */

static void cannot_connect(const struct load_plan *plan, const struct load_result *result)
{
	const char *hint = "";

	switch (-result->connect_error) {
	case ECONNREFUSED:
	case ENOENT:
		hint = " (nobody listens there; start a server first: whorl echo --listen ADDRESS)";
		break;
	case EMFILE:
	case ENFILE:
		hint = " (raise the limit with ulimit -n, or take fewer --connections)";
		break;
	case EADDRNOTAVAIL:
		hint = " (no local port is left; widen the range with sysctl -w "
		       "net.ipv4.ip_local_port_range='1024 65535', or use unix:PATH)";
		break;
	case ETIMEDOUT:
		hint = " (no answer for 10 s; is the address right, and the server accepting?)";
		break;
	case EACCES:
	case EPERM:
		hint = " (a socket's path must be writable for you)";
		break;
	case ENOMEM:
	case EAGAIN:
		hint = " (take fewer --connections)";
		break;
	}
	if (result->opened)
		cli_error("cannot open connection %" PRIu64 " of %" PRIu64 " to %s: %s%s",
			  result->opened + 1, plan->connections, target,
			  strerror(-result->connect_error), hint);
	else
		cli_error("cannot connect to %s: %s%s", target, strerror(-result->connect_error),
			  hint);
}

static const char *loss(int err)
{
	switch (-err) {
	case EPIPE:
		return "the server closed the connection";
	case ECONNRESET:
		return "the server reset the connection; did it end?";
	case ETIMEDOUT:
		return "no answer within 2 s after the end";
	default:
		return strerror(-err);
	}
}

static void report_losses(const struct load_plan *plan, const struct load_result *result)
{
	if (result->errors)
		cli_error("%" PRIu64 " of %" PRIu64 " connections to %s were lost; the first: %s",
			  result->errors, plan->connections, target, loss(result->first_error));
	if (result->mismatches)
		cli_error("%" PRIu64 " of %" PRIu64 " connections brought bytes that were not "
			  "sent: %s does not echo",
			  result->mismatches, plan->connections, target);
	if (result->interrupted && result->measured_ns)
		cli_error("interrupted: the figures are of the %.1f s until then",
			  (double)result->measured_ns / 1e9);
	else if (result->interrupted)
		cli_error("interrupted in the warm-up: nothing was measured");
}

/* What came out */

static double per_second(const struct load_result *result)
{
	if (result->measured_ns == 0)
		return 0;
	return (double)result->latency.count * 1e9 / (double)result->measured_ns;
}

static void print_json(const struct load_plan *plan, const struct load_result *result)
{
	printf("{\"name\":\"whorl_load\",\"connections\":%" PRIu64 ",\"size\":%" PRIu64
	       ",\"loops\":%u,\"rate\":%" PRIu64 ",\"idle\":%s,\"interrupted\":%s",
	       plan->connections, plan->size, plan->loops, plan->rate,
	       plan->idle ? "true" : "false", result->interrupted ? "true" : "false");
	printf(",\"opened\":%" PRIu64 ",\"opening_s\":%.6f,\"duration_s\":%.6f", result->opened,
	       (double)result->opening_ns / 1e9, (double)result->measured_ns / 1e9);
	printf(",\"requests\":%" PRIu64 ",\"requests_per_s\":%.1f,\"unsent\":%" PRIu64,
	       result->latency.count, per_second(result), result->unsent);
	for (unsigned i = 0; i < PERCENTILES; i++)
		printf(",\"%s\":%" PRIu64, percentiles[i].key,
		       histogram_percentile(&result->latency, percentiles[i].parts));
	printf(",\"max_ns\":%" PRIu64 ",\"mean_ns\":%" PRIu64, result->latency.max,
	       histogram_mean(&result->latency));
	printf(",\"errors\":%" PRIu64 ",\"mismatches\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 "}\n",
	       result->errors, result->mismatches, result->cpu_ns);
}

static void print_time(const char *name, uint64_t ns)
{
	if (ns < 10000)
		printf("  %-8s %9" PRIu64 " ns\n", name, ns);
	else if (ns < 10000000)
		printf("  %-8s %9.1f us\n", name, (double)ns / 1e3);
	else
		printf("  %-8s %9.1f ms\n", name, (double)ns / 1e6);
}

static void print_rate(const struct load_plan *plan, const struct load_result *result)
{
	if (!plan->rate)
		return;
	printf("  %-8s %9" PRIu64 " requests a second were asked for", "rate", plan->rate);
	if (result->unsent)
		printf("; the server was so late that %" PRIu64 " were never sent", result->unsent);
	putchar('\n');
}

static void print_latency(const struct histogram *latency)
{
	if (latency->count == 0)
		return;
	for (unsigned i = 0; i < PERCENTILES; i++)
		print_time(percentiles[i].name,
			   histogram_percentile(latency, percentiles[i].parts));
	print_time("max", latency->max);
}

static void print_text(const struct load_plan *plan, const struct load_result *result)
{
	const struct histogram *latency = &result->latency;

	printf("%s: %" PRIu64 " connections, %" PRIu64 " bytes, %.1f s%s\n", target,
	       plan->connections, plan->size, (double)result->measured_ns / 1e9,
	       result->interrupted ? " (interrupted)" : "");
	printf("  %-8s %9" PRIu64 ", %.0f a second, %.1f MB a second each way\n", "requests",
	       latency->count, per_second(result), per_second(result) * (double)plan->size / 1e6);
	print_rate(plan, result);
	print_latency(latency);
	printf("  %-8s %9" PRIu64 ", wrong answers %" PRIu64 "\n", "errors", result->errors,
	       result->mismatches);
	if (latency->count)
		printf("  %-8s %9.2f s here, %.2f us a request\n", "cpu",
		       (double)result->cpu_ns / 1e9,
		       (double)result->cpu_ns / 1e3 / (double)latency->count);
}

static void print_idle(const struct load_plan *plan, const struct load_result *result)
{
	printf("%s: %" PRIu64 " connections opened in %.2f s and held for %.1f s%s, %" PRIu64
	       " errors\n",
	       target, plan->connections, (double)result->opening_ns / 1e9,
	       (double)result->measured_ns / 1e9, result->interrupted ? " (interrupted)" : "",
	       result->errors + result->mismatches);
}

static int report(const struct load_plan *plan, const struct load_result *result, bool json)
{
	if (result->connect_error) {
		cannot_connect(plan, result);
		return EXIT_FAILED;
	}
	if (result->opened < plan->connections) {
		cli_error("interrupted before all connections were open: nothing was measured");
		return EXIT_FAILED;
	}
	if (json)
		print_json(plan, result);
	else if (plan->idle)
		print_idle(plan, result);
	else
		print_text(plan, result);
	report_losses(plan, result);
	if (!cli_flush() || result->errors || result->mismatches || result->interrupted)
		return EXIT_FAILED;
	return EXIT_DONE;
}

/* The command line */

static bool enough_files(const struct load_plan *plan)
{
	uint64_t need = plan->connections + FILES_BASE + (uint64_t)FILES_PER_LOOP * plan->loops;
	uint64_t limit = cli_raise_open_files();

	if (need <= limit)
		return true;
	cli_error("%" PRIu64 " connections need %" PRIu64 " open files, and the limit is %" PRIu64
		  " (raise it with ulimit -n %" PRIu64 ", as root or in limits.conf, or take "
		  "fewer --connections)",
		  plan->connections, need, limit, need);
	return false;
}

static int run(const struct load_plan *plan, bool json)
{
	struct load_result *result;
	int r;

	if (!enough_files(plan))
		return EXIT_FAILED;
	result = malloc(sizeof(*result));
	r = result ? load_run(plan, result) : -ENOMEM;
	if (r == 0)
		r = report(plan, result, json);
	else
		r = cli_run_failed(r);
	free(result);
	return r;
}

static const char usage_text[] =
	"usage: whorl load --connect ADDRESS [OPTION]...\n\n"
	"Put an echo server under load: every connection sends a request, waits for its answer\n"
	"and compares every byte. Without --rate it then asks again at once, so a server that\n"
	"stalls is asked less. With --rate requests are due at fixed times, whatever the server\n"
	"does, and a latency counts from when the request was due.\n\n"
	"  --connect ADDRESS  127.0.0.1:7000, [::1]:7000 or unix:PATH\n"
	"  --connections N    default 64\n"
	"  --size BYTES       of a request; default 64\n"
	"  --duration TIME    to measure, such as 5, 0.5 or 200ms; default 5\n"
	"  --warmup TIME      before that, not measured; default 0.5\n"
	"  --rate R           requests a second, over all connections\n"
	"  --idle             only hold the connections open for the duration\n"
	"  --loops N          threads, each with a loop; default 1\n" CLI_BACKEND_HELP
	"  --json             print one line of JSON\n\n"
	"Exit status 1 if a connection was lost or brought a wrong byte, or after Ctrl-C, which\n"
	"ends the measurement early and prints what was measured until then.\n";

static int check(int operands, char **argv, struct load_plan *plan)
{
	if (operands > 0) {
		cli_error("load: takes no operands, but got '%s'", argv[1]);
		return EXIT_USAGE;
	}
	if (!target) {
		cli_error("load: --connect ADDRESS is missing");
		return EXIT_USAGE;
	}
	if (wh_addr_parse(target, &plan->addr) < 0) {
		cli_error("load: '%s' is not an address; write 127.0.0.1:7000, [::1]:7000 or "
			  "unix:PATH",
			  target);
		return EXIT_USAGE;
	}
	if (plan->idle && plan->rate) {
		cli_error("load: --idle sends nothing, so it takes no --rate");
		return EXIT_USAGE;
	}
	return 0;
}

int cmd_load(int argc, char **argv)
{
	struct load_plan plan = { .connections = 64, .size = 64 };
	uint64_t loops = 1;
	double duration = 5, warmup = 0.5;
	bool json = false;
	const struct cli_option options[] = {
		{ .name = "--connect", .text = &target },
		{ .name = "--connections",
		  .number = &plan.connections,
		  .min = 1,
		  .max = CONNECTIONS_MAX },
		{ .name = "--size", .number = &plan.size, .min = 1, .max = SIZE_MAX_BYTES },
		{ .name = "--duration", .seconds = &duration },
		{ .name = "--warmup", .seconds = &warmup },
		{ .name = "--rate", .number = &plan.rate, .min = 1, .max = RATE_MAX },
		{ .name = "--idle", .flag = &plan.idle },
		{ .name = "--loops", .number = &loops, .min = 1, .max = LOOPS_MAX },
		CLI_BACKEND_OPTION(&plan.backend),
		{ .name = "--json", .flag = &json },
		{ 0 },
	};
	int operands;
	int r = cli_parse(argc, argv, options, &operands);

	if (r < 0) {
		fputs(usage_text, stdout);
		return cli_flush() ? EXIT_DONE : EXIT_FAILED;
	}
	if (r == 0)
		r = check(operands, argv, &plan);
	if (r > 0)
		return r;
	plan.loops = (uint32_t)loops;
	plan.duration_ns = (uint64_t)(duration * 1e9);
	plan.warmup_ns = plan.idle ? 0 : (uint64_t)(warmup * 1e9);
	return run(&plan, json);
}
