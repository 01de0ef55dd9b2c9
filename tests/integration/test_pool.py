#!/usr/bin/env -S python3 -B
"""Programs with a pool of processes that are killed, interrupted, or run where much is missing."""
import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import socket
import subprocess

from harness import BUILD, Skip, check, equal, folder, main, run, tell, test

PROGRAM = str(BUILD / "tests/pool_program_static")
SHARED = str(BUILD / "tests/pool_program_shared")
CLONE_NEWNS, MS_REC_PRIVATE, MNT_DETACH = 0x20000, 0x4000 | 0x40000, 2
END_SECONDS_MAX = 10


def await_end(pid):
    """Until the process, which is no child of ours, has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ready, _, _ = select.select([fd], [], [], END_SECONDS_MAX)
    os.close(fd)
    check(ready, "process", pid, "has not ended")


def parent_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("PPid:"))


@contextlib.contextmanager
def held():
    """The program, and the numbers of all the processes that it has made."""
    with subprocess.Popen([PROGRAM, "hold"], stdout=subprocess.PIPE, text=True,
                          start_new_session=True) as process:
        try:
            equal(process.stdout.readline(), "main\n")
            line = process.stdout.readline()
            check(line, "it ended before it was ready")
            pids = [int(word) for word in line.split()]
            pids.append(parent_of(pids[-1]))
            equal(len(pids), 4)
            equal(parent_of(pids[-1]), process.pid)
            equal(process.stdout.readline(), "ready\n")
            yield process, pids
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@test
def all_die_with_the_program():
    with held() as (process, pids):
        process.kill()
        process.wait()
        for pid in pids:
            await_end(pid)


@test
def workers_die_with_what_they_come_from():
    for victim in (-1, -2):
        with held() as (process, pids):
            os.kill(pids[victim], signal.SIGKILL)
            for pid in pids[:victim]:
                await_end(pid)
            out, _ = process.communicate(timeout=END_SECONDS_MAX)
            equal(out, "jobs: EOWNERDEAD\nafter that: works\n")


@test
def interrupt_from_a_terminal_is_the_programs_matter():
    # Ctrl-C goes to the whole process group.
    with held() as (process, pids):
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=END_SECONDS_MAX)
        equal(out, "jobs: ECANCELED\nafter that: works\n")
        equal(process.returncode, 0)
        for pid in pids:
            await_end(pid)


@test
def termination_ends_jobs_that_may_be_killed():
    with held() as (process, pids):
        tell(process)
        out, _ = process.communicate(timeout=END_SECONDS_MAX)
        equal(out, "jobs: ECANCELED\nafter that: works\n")
        for pid in pids:
            await_end(pid)


def opened(mode, *arguments, **options):
    """What opening a pool returned; main has run once, in the program itself."""
    done = run(mode, *arguments, program=options.pop("program", PROGRAM), **options)
    if done.returncode == 77:
        raise Skip("no system call filters here")
    lines = done.stdout.splitlines()
    equal(lines[0], "main", done.stderr)
    equal(len(lines), 2, done.stdout)
    equal(done.returncode, 0)
    return lines[1].removeprefix("opened: ")


@test
def main_runs_once():
    equal(opened("open"), "0")


@test
def shared_library_works_as_well():
    equal(opened("open", program=SHARED), "0")


@test
def program_that_forgets_wh_jobs_main_is_told():
    equal(opened("forgetful"), "ENOEXEC")


@test
def program_that_was_removed_goes_on():
    with folder() as path:
        copy = shutil.copy2(PROGRAM, path / "program")
        equal(opened("unlink", copy, program=str(copy)), "0")


@test
def variable_from_outside_makes_no_zygote():
    for value in ("", "1", "0:1", f"1:{os.getpid()}", "99999:1", "-1:-1", "x" * 5000):
        equal(opened("open", env={**os.environ, "WHORL_ZYGOTE": value}), "0", value)


@test
def descriptor_from_outside_makes_no_zygote():
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        # Of the right kind, but made by somebody else than it says.
        env = {**os.environ, "WHORL_ZYGOTE": f"{its.fileno()}:1"}
        equal(opened("open", env=env, pass_fds=[its.fileno()]), "0")


@test
def forbidden_exec_is_named():
    equal(opened("filtered"), "EPERM")


@test
def what_is_forbidden_after_the_start_does_no_harm():
    equal(opened("late"), "0")


@test
def closed_standard_streams_do_no_harm():
    def close_input():
        os.close(0)
    equal(opened("open", stdin=None, preexec_fn=close_input), "0")


@test
def few_descriptors_are_named():
    def limit_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
    equal(opened("open", preexec_fn=limit_files), "EMFILE")


@test
def missing_proc_is_named():
    libc = ctypes.CDLL(None, use_errno=True)

    def without_proc():
        if libc.unshare(CLONE_NEWNS) or \
                libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None) or \
                libc.umount2(b"/proc", MNT_DETACH):
            os._exit(77)
    done = run("open", program=PROGRAM, preexec_fn=without_proc)
    if done.returncode == 77:
        raise Skip("mount namespaces are not permitted")
    if "LeakSanitizer" in done.stderr:
        raise Skip("LeakSanitizer needs /proc")
    equal(done.stdout, "main\nopened: ENOENT\n", done.stderr)


main()
