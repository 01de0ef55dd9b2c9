#!/usr/bin/env -S python3 -B
"""The command `whorl sim`: what it says of seeds that pass, fail, crash and hang, and that planted
bugs are found, shrunk and replayed."""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from harness import BUILD, Skip, check, equal, folder, main, run, says, test  # noqa: E402

HASH = re.compile(r"hash ([0-9a-f]{16})\b")
EXAMPLE = BUILD / "tests/example_planted_bug"
HEADERS = pathlib.Path(__file__).resolve().parents[2] / "engine/include"

# Each has a bug planted in its own code.
PLANTED = ("chat:hole", "echo:short", "executor:twice", "pipeline:lost", "replace:folder",
           "replace:unsynced")


def passes(*arguments):
    done = run("sim", *arguments)
    equal(done.returncode, 0, arguments, done.stdout, done.stderr, "status")
    return done.stdout


def fails(*arguments):
    done = run("sim", *arguments)
    equal(done.returncode, 1, arguments, done.stdout, done.stderr, "status")
    return done.stdout


def hash_of(text):
    found = HASH.findall(text)
    check(found, "no hash in:", text)
    return found[-1]


def replay_of(text):
    """The words of the command that replays it."""
    return re.search(r"^  replay: \S+ sim (.*)$", text, re.MULTILINE).group(1).split()


def compiled(path, source, *options):
    """The shared object that a user would build from `source`."""
    (path / "mine.c").write_text(source)
    subprocess.run(["cc", "-std=c17", "-shared", "-fPIC", f"-I{HEADERS}", "-o", path / "mine.so",
                    path / "mine.c", *options], check=True)
    return path / "mine.so"


@test
def the_list_has_scenarios_and_faults():
    text = passes("--list")
    for word in ("echo", "pipeline", "chat", "corners", "replace", "executor", "emfile", "short",
                 "reset"):
        check(re.search(rf"^\s+{word}\b", text, re.MULTILINE), f"no {word!r} in:", text)


@test
def wrong_usage_is_named():
    says(run("sim"), 2, "scenario is missing", "--list")
    says(run("sim", "ecko"), 2, "did you mean 'echo'")
    says(run("sim", "zzzzzzzzz"), 2, "--list")
    says(run("sim", "./none.so"), 2, "cannot load", "none.so")
    for seeds in ("", "x", "2-1", "1-", "-1", "1-2x", "1-18446744073709551615"):
        says(run("sim", "--seeds", seeds, "echo"), 2, "--seeds")
    for only in ("", "x", "2,1", "1,,2", "1,"):
        says(run("sim", "--seeds", "1", "--only", only, "echo"), 2, "--only")
    says(run("sim", "--seeds", "1-2", "--only", "1", "echo"), 2, "--only", "single seed")
    says(run("sim", "--seeds", "1-2", "--trace", "echo"), 2, "--trace", "single seed")
    says(run("sim", "--faults", "nonsense", "echo"), 2, "--faults", "nonsense", "--list")


@test
def a_file_without_the_symbol_is_told_what_it_needs():
    with folder() as path:
        says(run("sim", compiled(path, "int x;")), 2, "mine.so", "wh_scenario")
        source = "#include <whorl/sim.h>\nconst struct wh_sim_scenario wh_scenario = {0};"
        says(run("sim", compiled(path, source)), 2, "mine.so", ".name")


@test
def the_hash_over_all_seeds_depends_on_neither_processes_nor_their_number():
    one = passes("--seeds", "1-40", "--jobs", "1", "echo")
    equal(hash_of(passes("--seeds", "1-40", "--jobs", "3", "echo")), hash_of(one))
    check(hash_of(passes("--seeds", "41-80", "echo")) != hash_of(one), "other seeds, same hash")


@test
def a_seed_alone_has_the_same_trace_in_every_process():
    for scenario in ("chat", "corners", "echo", "emfile", "executor", "pipeline", "replace"):
        traces = {run("sim", "--seeds", "7", "--trace", scenario).stdout for _ in range(2)}
        equal(len(traces), 1, scenario, "traces")


@test
def the_trace_of_a_seed_is_printed():
    lines = passes("--seeds", "3", "--trace", "echo").splitlines()
    check(len(lines) > 100, len(lines), "lines")


@test
def with_no_fault_allowed_none_strikes():
    text = passes("--seeds", "3", "--faults", "storm", "--only", "none", "echo")
    check("faults that struck: 0\n" in text, text)


@test
def a_failure_is_shrunk_and_the_command_it_prints_replays_it():
    text = fails("--seeds", "1-300", "pipeline:lost")
    needed = int(re.search(r"(\d+) (?:is|are) enough", text).group(1))
    check(needed <= 5, needed, "faults:", text)
    again = fails(*replay_of(text))
    equal(hash_of(again), hash_of(text))
    what = re.search(r"^  replayed: (.*); trace hash", text, re.MULTILINE).group(1)
    check(what in again, f"no {what!r} in:", again)
    check(f"faults that struck: {needed}\n" in again, again)


def finds(name):
    def planted():
        text = fails("--seeds", "1-300", "--no-shrink", name)
        check(re.search(r"seed \d+ failed: .*\(EBADMSG\)", text), text)
    planted.__name__ = f"the_bug_planted_in_{name.replace(':', '_')}_is_found_within_300_seeds"
    test(planted)


for scenario in PLANTED:
    finds(scenario)


@test
def the_lowest_seed_that_fails_is_reported_however_many_processes_run():
    one = fails("--seeds", "1-300", "--no-shrink", "--jobs", "1", "echo:short")
    seed = re.search(r"seed (\d+) failed", one).group(1)
    many = fails("--seeds", "1-300", "--no-shrink", "--jobs", "4", "echo:short")
    equal(re.search(r"seed (\d+) failed", many).group(1), seed)


CRASHES = r"""
#include <stdlib.h>
#include <whorl/sim.h>
#include <whorl/task.h>

static int test(void *arg)
{
	(void)arg;
	wh_sleep(WH_SEC);
	if (wh_sim_random(8) == 0)
		WHAT
	return 0;
}

const struct wh_sim_scenario wh_scenario = { .name = "mine", .fn = test };
"""


@test
def a_seed_that_crashes_is_reported_and_the_others_still_run():
    with folder() as path:
        mine = compiled(path, CRASHES.replace("WHAT", "abort();"))
        text = fails("--seeds", "1-50", "--keep-going", mine)
        check(re.search(r"50 seeds, ([2-9]|1\d) failed", text), text)
        check("died: Aborted" in text and "replayed: " in text, text)
        check("--only none" in text, "needs no faults:", text)


@test
def a_file_that_is_linked_with_the_library_runs_too():
    if "WHORL_SANITIZE:STRING=\n" not in (BUILD / "CMakeCache.txt").read_text():
        raise Skip("a sanitizer's library does not link without it")
    library = f"-L{BUILD}/engine", "-lwhorl", f"-Wl,-rpath,{BUILD}/engine"
    with folder() as path:
        mine = compiled(path, CRASHES.replace("WHAT", "abort();"), *library)
        check("died: Aborted" in fails("--seeds", "1-50", mine), "it does not crash")


@test
def a_seed_that_hangs_is_reported():
    with folder() as path:
        mine = compiled(path, CRASHES.replace("WHAT", "for (;;) ;"))
        text = fails("--seeds", "1-30", "--patience", "1.5", mine)
        check("no end in real time" in text and "--patience 1.5" in text, text)


@test
def a_run_that_waits_for_ever_names_the_tasks():
    with folder() as path:
        mine = compiled(path, CRASHES.replace("WHAT", "wh_sleep_until(UINT64_MAX);"))
        text = fails("--seeds", "1-50", mine)
        check(re.search(r"main|test", text) and "EDEADLK" in text, text)


def example(*arguments):
    return subprocess.run([EXAMPLE, *map(str, arguments)], capture_output=True, text=True,
                          timeout=50, check=False)


@test
def the_example_finds_its_bug_and_replays_it():
    found = example()
    equal(found.returncode, 1, found.stdout, "status")
    seed = re.match(r"seed (\d+): .*20 were added, and the counter says 2", found.stdout)
    check(seed, found.stdout)
    check(int(seed.group(1)) <= 200, "late:", found.stdout)
    again = example(seed.group(1))
    equal(again.returncode, 1)
    equal(again.stdout, found.stdout)


@test
def the_example_without_its_bug_passes():
    equal(example("--fixed").stdout, "1000 seeds passed\n")


@test
def the_example_as_a_file_is_shrunk_to_one_fault():
    text = fails("--seeds", "1-200", f"{EXAMPLE}.so")
    check(re.search(r"\b1 is enough", text), text)
    equal(hash_of(fails(*replay_of(text))), hash_of(text))


main()
