#!/usr/bin/env -S python3 -B
"""A server and a job that must live with 32 open files, 64 KiB of locked memory or 256 MiB of
address space: who does not fit in waits, at no cost, and is served when there is room again.

Sizes: clients=200 seconds=1 crowd=4000 words=400000
"""
import contextlib
import os
import resource
import shutil
import time

from stress import PROGRAMS, Server, run_client, size, told
from harness import (Skip, WHORL, check, echoes, equal, folder, limit, main, receive, run, says,
                     test)

CLIENTS = size("clients", 200)
SECONDS = size("seconds", 1)
CROWD = size("crowd", 4000)
WORDS = size("words", 400000)
FILES, LOCKED_BYTES, ADDRESS_BYTES = 32, 64 << 10, 256 << 20
NOBODY = 65534
BACKOFFS_A_SECOND_MAX = 51      # the listener pauses for 20 ms
FEW_FILES = limit(resource.RLIMIT_NOFILE, FILES)
LITTLE_ADDRESS_SPACE = limit(resource.RLIMIT_AS, ADDRESS_BYTES)


def little_locked_memory():
    """Root may lock what it likes."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (LOCKED_BYTES, LOCKED_BYTES))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@contextlib.contextmanager
def public_copy(program):
    """Where everybody may run it."""
    with folder() as path:
        os.chmod(path, 0o755)
        yield shutil.copy2(program, path / "program")


def overwhelm(server, count):
    """More clients than fit in, each with something to say; then room for them. The counters."""
    idle = server.idle()
    clients = [server.connect() for _ in range(count)]
    for i, client in enumerate(clients):
        client.sendall(b"%8d" % i)
    equal(receive(clients[0], 8), b"%8d" % 0)
    start, cpu, before = time.monotonic(), server.cpu_s(), server.counters()
    time.sleep(SECONDS)
    after, cpu = server.counters(), server.cpu_s() - cpu
    elapsed = time.monotonic() - start
    backoffs = after["accept_backoffs"] - before["accept_backoffs"]
    told(f"limits, {count} clients", server.greeting["backend"],
         served_at_once=after["connections"], backoffs_a_second=backoffs / elapsed,
         cpu_a_second=cpu / elapsed)
    check(cpu <= 0.2 * elapsed, "waiting took", cpu, "CPU seconds of", elapsed)
    check(backoffs <= BACKOFFS_A_SECOND_MAX * elapsed + 2, backoffs, "backoffs in", elapsed, "s")
    for i, client in enumerate(clients):
        if i > 0:
            equal(receive(client, 8), b"%8d" % i, "the echo")
        client.close()
    server.wait_for_idle(idle)
    with server.connect() as client:
        echoes(client, bytes(10000))
    server.wait_for_idle(idle)
    return after


@test
def with_32_files_a_server_serves_as_many_as_it_can():
    with Server(preexec_fn=FEW_FILES) as server:
        during = overwhelm(server, CLIENTS)
        check(0 < during["connections"] < FILES, during)
        check(during["accept_backoffs"] > 0, during)
        # The others wait at no risk: none is accepted to be dropped.
        equal(server.stop()["accepted"], CLIENTS + 1)


@test
def with_64_kib_of_locked_memory_too():
    with public_copy(PROGRAMS / "stress_server") as program:
        try:
            server = Server(path=program, cwd="/", preexec_fn=little_locked_memory)
        except AssertionError as error:
            check("ulimit -l" in str(error), "it fails without a cure:", error)
            return
        with server:
            idle = server.idle()
            done = run_client("fair", server.port("echo"), CLIENTS, max(1, SECONDS), 16384, 4096)
            equal(done["lost"], 0, "bytes that did not come back")
            server.wait_for_idle(idle)
            server.stop()


@test
def with_256_mib_of_address_space_too():
    check_sanitizers()
    with Server(preexec_fn=LITTLE_ADDRESS_SPACE) as server:
        during = overwhelm(server, CROWD)
        check(during["connections"] < CROWD, "the limit was not reached:", during)
        equal(server.stop()["accepted"], CROWD + 1)


def check_sanitizers():
    """Their shadow memory alone takes terabytes."""
    done = run("--help", preexec_fn=LITTLE_ADDRESS_SPACE)
    if done.returncode != 0:
        raise Skip("a program of this build does not start in 256 MiB of address space")


def count_words(path, **options):
    return run("wordcount", path, **options)


def works_or_says(cure, **options):
    with folder() as path:
        os.chmod(path, 0o755)
        text = path / "text"
        text.write_text("".join(f"word{i * 7919 % 5003} and\n" for i in range(WORDS)))
        expected = count_words(text)
        equal(expected.returncode, 0, expected.stderr)
        done = count_words(text, **options)
    if done.returncode == 0:
        equal(done.stdout, expected.stdout, "the count")
    else:
        says(done, done.returncode, cure)
        equal(done.stdout, "", "what it printed before it failed")
        equal(done.stderr.count("\n"), 1, "lines")


@test
def with_32_files_words_are_counted_or_it_says_why_not():
    works_or_says("ulimit -n", preexec_fn=FEW_FILES)


@test
def with_64_kib_of_locked_memory_as_well():
    with public_copy(WHORL) as program:
        works_or_says("ulimit -l", program=program, cwd="/", preexec_fn=little_locked_memory)


@test
def with_256_mib_of_address_space_as_well():
    check_sanitizers()
    works_or_says("memory", preexec_fn=LITTLE_ADDRESS_SPACE)


main()
