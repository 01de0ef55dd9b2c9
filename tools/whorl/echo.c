/*
 * whorl echo: sends back what it receives. This is the command: its options, and one process.
 */
#include "echo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <whorl/supervise.h>

#include "cli.h"

enum { LOOPS_MAX = 1024 };

struct echo_config echo_config;

static const char usage_text[] =
	"usage: whorl echo --listen ADDRESS [OPTION]...\n\n"
	"Send back whatever arrives. SIGTERM or Ctrl-C: accept no more, answer what has arrived,\n"
	"close, and end with status 0. A second one ends it at once.\n\n"
	"  --listen ADDRESS   127.0.0.1:7000, [::1]:7000, :7000 (every address) or unix:PATH;\n"
	"                     port 0 lets the kernel choose\n"
	"  --processes N      serve with N processes that share the address, and one more that\n"
	"                     keeps them and replaces those that die\n"
	"  --loops N          threads, each with a loop (default: the CPUs allowed; with\n"
	"                     --processes 1 in each)\n"
	"  --pin              tie each loop to a CPU\n"
	"  --retire TIME      with --processes: how long connections may last when processes are\n"
	"                     exchanged (default: 60)\n"
	"  --stats            at the end, print what was done as one line of JSON\n"
	"  --seccomp          after start-up, forbid every system call that a server does not\n"
	"                     need: they fail with EPERM. Off by default, because debuggers,\n"
	"                     sanitizers and preloaded libraries need others\n" CLI_BACKEND_HELP
	"\n"
	"Signals with --processes, to the first process: SIGTERM and Ctrl-C as above, for all.\n"
	"SIGHUP exchanges all processes, one after another, and no connection is lost: a new one\n"
	"is started from the program's file as it is then, and the old one accepts no more and\n"
	"ends with its last connection. If the new one cannot serve, the old ones stay.\n"
	"\n"
	"With io_uring the rings take nothing but operations on sockets, whatever the options.\n";

static uint64_t microseconds(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void echo_print_stats(const struct echo_server *servers, uint64_t count)
{
	struct echo_server sum = { 0 };
	uint64_t cpu_us = microseconds(RUSAGE_SELF) + microseconds(RUSAGE_CHILDREN);

	for (uint64_t i = 0; i < count; i++) {
		sum.echoes += servers[i].echoes;
		sum.bytes += servers[i].bytes;
		sum.enters += servers[i].enters;
		sum.connections += servers[i].connections;
		sum.errors += servers[i].errors;
	}
	printf("{\"name\":\"whorl_echo\",\"echoes\":%" PRIu64 ",\"bytes\":%" PRIu64
	       ",\"syscalls\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"connections\":%" PRIu64
	       ",\"errors\":%" PRIu64 "}\n",
	       sum.echoes, sum.bytes, sum.enters, cpu_us * 1000, sum.connections, sum.errors);
}

static int run_server(const struct wh_run_opts *opts)
{
	uint64_t count = opts->loops ? opts->loops : LOOPS_MAX;
	struct echo_server *servers = aligned_alloc(_Alignof(struct echo_server),
						    count * sizeof(struct echo_server));
	int status = EXIT_FAILED;
	int result = 0;
	int r;

	if (!servers) {
		cli_error("out of memory");
		return EXIT_FAILED;
	}
	memset(servers, 0, count * sizeof(struct echo_server));
	r = cli_run(echo_run, servers, opts, &result);
	if (r < 0)
		status = cli_run_failed(r);
	else if (result == -ECANCELED && wh_run_signal()) {
		if (echo_config.stats)
			echo_print_stats(servers, count);
		status = cli_flush() ? EXIT_DONE : EXIT_FAILED;
	}
	free(servers);
	return status;
}

static int run(struct wh_run_opts *opts)
{
	int supervised = wh_supervised();

	if (supervised < 0) {
		cli_error("echo: cannot serve for a supervisor: %s (WHORL_SUPERVISED is in the "
			  "environment; unless another whorl has put it there, remove it)",
			  strerror(-supervised));
		return EXIT_FAILED;
	}
	cli_raise_open_files();
	if (supervised)
		return echo_work(opts);
	return echo_config.processes ? echo_supervise(opts) : run_server(opts);
}

static int misused(char **argv, int operands)
{
	if (operands)
		cli_error("echo: takes no operands, but got '%s'", argv[1]);
	else if (!echo_config.text)
		cli_error("echo: --listen ADDRESS is missing");
	else if (echo_config.retire_s > 0 && !echo_config.processes)
		cli_error("echo: --retire is for --processes");
	else if (wh_addr_parse(echo_config.text, &echo_config.addr) < 0)
		cli_error("echo: '%s' is not an address; write 127.0.0.1:7000, [::1]:7000 or "
			  "unix:PATH",
			  echo_config.text);
	else
		return 0;
	return EXIT_USAGE;
}

int cmd_echo(int argc, char **argv)
{
	struct wh_run_opts opts = { .restrict_ops = WH_ALLOW_NET };
	const struct cli_option options[] = {
		{ .name = "--listen", .text = &echo_config.text },
		{ .name = "--loops", .number = &echo_config.loops, .min = 1, .max = LOOPS_MAX },
		{ .name = "--processes",
		  .number = &echo_config.processes,
		  .min = 1,
		  .max = WH_SUPERVISE_PROCESSES_MAX },
		{ .name = "--retire", .seconds = &echo_config.retire_s },
		{ .name = "--pin", .flag = &opts.pin },
		{ .name = "--stats", .flag = &echo_config.stats },
		{ .name = "--seccomp", .flag = &echo_config.seccomp },
		CLI_BACKEND_OPTION(&opts.backend),
		{ 0 },
	};
	int operands;
	int r = cli_parse(argc, argv, options, &operands);

	if (r < 0) {
		fputs(usage_text, stdout);
		return cli_flush() ? EXIT_DONE : EXIT_FAILED;
	}
	if (r == 0)
		r = misused(argv, operands);
	if (r > 0)
		return r;
	opts.loops = (uint32_t)echo_config.loops;
	return run(&opts);
}
