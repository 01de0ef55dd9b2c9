/* whorl sim: one seed in a process of its own. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "sim.h"

struct sim_outcome *sim_outcome_new(void)
{
	struct sim_outcome *outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (outcome == MAP_FAILED) {
		cli_error("sim: no memory: %s", strerror(errno));
		return NULL;
	}
	return outcome;
}

struct wh_sim_opts sim_opts(const struct sim_plan *plan)
{
	struct wh_sim_opts opts = plan->scenario->opts;

	if (plan->faults)
		opts.faults = plan->faults;
	opts.only = NULL;
	opts.only_count = 0;
	opts.trace = NULL;
	opts.on_fault = NULL;
	opts.arg = NULL;
	opts.ret_report = NULL;
	return opts;
}

/* Children */

static void child_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGCHLD);
}

void sim_child_begin(void)
{
	sigset_t signals;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	child_signals(&signals);
	sigprocmask(SIG_UNBLOCK, &signals, NULL);
}

/* Blocked, the signal is kept for sigtimedwait. */
static void block_child_signals(void)
{
	sigset_t signals;

	child_signals(&signals);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

void sim_child_wait(uint64_t timeout_ns)
{
	const struct timespec timeout = { .tv_sec = (time_t)(timeout_ns / WH_SEC),
					  .tv_nsec = (long)(timeout_ns % WH_SEC) };
	sigset_t signals;

	block_child_signals();
	child_signals(&signals);
	sigtimedwait(&signals, NULL, &timeout);
}

/* In the child */

struct witness {
	struct sim_outcome *outcome;
	FILE *trace;
};

static void print_line(void *arg, const char *line)
{
	const struct witness *witness = arg;

	fprintf(witness->trace, "%s\n", line);
}

static void note_fault(void *arg, const struct wh_sim_fault *fault)
{
	const struct witness *witness = arg;
	struct sim_outcome *outcome = witness->outcome;
	struct sim_fault *note = &outcome->faults[outcome->faults_count];

	if (outcome->faults_count == SIM_FAULTS_MAX)
		return;
	note->decision = fault->decision;
	note->at_ns = fault->at_ns;
	snprintf(note->name, sizeof(note->name), "%s", fault->name);
	snprintf(note->op, sizeof(note->op), "%s", fault->op ? fault->op : "");
	outcome->faults_count++;
}

static void run_in_child(const struct sim_plan *plan, uint64_t seed, const struct sim_only *only,
			 struct witness *witness)
{
	static const uint64_t none;
	struct wh_sim_opts opts = sim_opts(plan);

	opts.trace = witness->trace ? print_line : NULL;
	opts.on_fault = note_fault;
	opts.arg = witness;
	opts.ret_report = &witness->outcome->report;
	if (only) {
		opts.only = only->count > 0 ? only->decisions : &none;
		opts.only_count = only->count;
	}
	witness->outcome->result = wh_sim_run(seed, plan->scenario->fn, plan->scenario->arg, &opts);
	witness->outcome->end = SIM_RETURNED;
}

/* In the parent */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * WH_SEC + (uint64_t)ts.tv_nsec;
}

/* Its wait status; kills it once its patience is over. */
static int wait_for(pid_t pid, uint64_t patience_ns, bool *ret_hung)
{
	uint64_t end_ns = now_ns() + patience_ns;
	int status = 0;

	*ret_hung = false;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		uint64_t now = now_ns();

		if (now >= end_ns) {
			*ret_hung = true;
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		sim_child_wait(end_ns - now);
	}
	return status;
}

int sim_one(const struct sim_plan *plan, uint64_t seed, const struct sim_only *only, FILE *trace,
	    struct sim_outcome *ret)
{
	struct witness witness = { .outcome = ret, .trace = trace };
	bool hung;
	int status;
	pid_t pid;

	ret->end = SIM_DIED;
	ret->signal = 0;
	ret->faults_count = 0;
	ret->report = (struct wh_sim_report){ 0 };
	block_child_signals();
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		cli_error("sim: cannot make a process: %s", strerror(errno));
		return -1;
	}
	if (pid == 0) {
		sim_child_begin();
		/* Of a run that crashes, the trace is wanted most. */
		if (trace)
			setvbuf(trace, NULL, _IOLBF, BUFSIZ);
		run_in_child(plan, seed, only, &witness);
		fflush(NULL);
		_exit(0);
	}
	status = wait_for(pid, plan->patience_ns, &hung);
	if (hung)
		ret->end = SIM_HUNG;
	else if (WIFSIGNALED(status))
		ret->signal = WTERMSIG(status);
	return 0;
}

const char *sim_describe(const struct sim_outcome *outcome, char text[SIM_LINE_MAX])
{
	const struct wh_sim_report *report = &outcome->report;

	switch (outcome->end) {
	case SIM_RETURNED:
		if (report->text[0])
			snprintf(text, SIM_LINE_MAX, "%s (%s)", report->text,
				 strerrorname_np(-outcome->result));
		else
			snprintf(text, SIM_LINE_MAX, "the scenario returned %d (%s)",
				 outcome->result, strerror(-outcome->result));
		break;
	case SIM_DIED:
		snprintf(text, SIM_LINE_MAX, "the process died: %s",
			 outcome->signal ? strsignal(outcome->signal) : "it called exit");
		break;
	case SIM_HUNG:
		snprintf(text, SIM_LINE_MAX,
			 "no end in real time: killed (--patience sets after "
			 "how long)");
		break;
	}
	return text;
}
