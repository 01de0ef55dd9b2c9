#!/usr/bin/env -S python3 -B
"""What the command says under kernel.io_uring_disabled = 1 and 2. Needs root and the machine for
itself: it changes the sysctl, for moments, and puts it back. Runs with WHORL_TEST_SYSCTL=1 only."""
import contextlib
import os
import pathlib
import shutil
import tempfile

from harness import WHORL, Skip, check, equal, main, run, says, test

SYSCTL = pathlib.Path("/proc/sys/kernel/io_uring_disabled")
NOBODY = 65534

for name in ("WHORL_BACKEND", "WHORL_URING_OFF"):
    os.environ.pop(name, None)


@contextlib.contextmanager
def disabled(value):
    if os.environ.get("WHORL_TEST_SYSCTL") != "1":
        raise Skip("WHORL_TEST_SYSCTL is not 1")
    if not SYSCTL.exists():
        raise Skip("this kernel has no kernel.io_uring_disabled")
    before = SYSCTL.read_text()
    if before.strip() != "0":
        raise Skip(f"kernel.io_uring_disabled is {before.strip()} already")
    try:
        SYSCTL.write_text(str(value))
    except OSError as error:
        raise Skip(f"cannot set kernel.io_uring_disabled: {error}") from error
    try:
        yield
    finally:
        SYSCTL.write_text(before)


def become_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@contextlib.contextmanager
def public_command():
    """The command where everybody may run it."""
    with tempfile.TemporaryDirectory(prefix="whorl-test-") as path:
        os.chmod(path, 0o755)
        yield shutil.copy(WHORL, path)


def fell_back(done, sentence):
    equal(done.returncode, 0, done.stderr)
    check(done.stdout, "nothing was counted")
    equal(done.stderr.count("\n"), 1, done.stderr)
    check("epoll instead of io_uring: " + sentence in done.stderr, done.stderr)


@test
def disabled_for_everybody_is_said_and_epoll_runs():
    with disabled(2):
        done = run("wordcount", "/etc/passwd")
        asked = run("wordcount", "--backend", "uring", "/etc/passwd")
        doctor = run("doctor")
    fell_back(done, "kernel.io_uring_disabled=2 forbids io_uring to everybody")
    says(asked, 3, "kernel.io_uring_disabled=2", "sysctl -w")
    check("warn  backend" in doctor.stdout and "2: nobody may use it" in doctor.stdout,
          doctor.stdout)


@test
def disabled_for_users_is_said_to_users_only():
    with public_command() as program, disabled(1):
        root = run("wordcount", "/etc/passwd", program=program)
        user = run("wordcount", "/etc/passwd", program=program, preexec_fn=become_nobody)
    equal(root.stderr, "")
    fell_back(user, "kernel.io_uring_disabled=1 forbids io_uring to this user")
    check("kernel.io_uring_group" in user.stderr, user.stderr)


if __name__ == "__main__":
    main()
