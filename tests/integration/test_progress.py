#!/usr/bin/env -S python3 -B
"""What whorl wordcount shows while it runs: on a terminal, elsewhere, to programs; what --explain
says; and that it stops at once when told to, whatever it reads."""
import gzip
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

from harness import WHORL, check, equal, folder, main, run, says, tell, test, under_tsan

PHASES = ["walk", "map", "reduce", "output", "end"]
FIELDS = {"phase", "done", "total", "bytes", "bytes_unpacked", "files", "files_failed", "seconds",
          "bytes_per_second", "seconds_left"}


def objects(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def slow_input(seconds, *arguments, **options):
    """Count what comes in pieces over a pipe for some time; returns how it ended."""
    process = subprocess.Popen([WHORL, "wordcount", *arguments, "-"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, **options)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process.stdin.write(b"some words " * 100000)
        process.stdin.flush()
        time.sleep(0.05)
    return process


def finish(process):
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@test
def json_has_the_documented_fields_and_comes_to_the_end():
    done = finish(slow_input(1.5, "--progress", "json", stderr=subprocess.PIPE))
    equal(done.returncode, 0, done.stderr)
    told = objects(done.stderr.decode())
    check(len(told) >= 3, "only", len(told), "objects:", done.stderr)
    for one in told:
        wanted = FIELDS | ({"status"} if one["phase"] == "end" else set())
        equal(set(one), wanted)
    equal((told[-1]["phase"], told[-1]["status"]), ("end", "done"))
    order = [PHASES.index(one["phase"]) for one in told]
    equal(order, sorted(order), "the order of phases")
    counted = [one["bytes"] for one in told]
    equal(counted, sorted(counted), "bytes")
    check(told[0]["total"] is None and told[0]["seconds_left"] is None, told[0])
    check(told[-1]["bytes"] > 0 and told[-1]["bytes_per_second"] > 0, told[-1])


@test
def json_tells_of_an_end_that_comes_at_once_and_of_failures():
    with folder() as path:
        (path / "file").write_bytes(gzip.compress(b"a b"))
        done = run("wordcount", "--progress", "json", path / "file", path / "missing")
        equal(done.returncode, 1)
        last = objects(done.stderr)[-1]
        equal((last["phase"], last["status"], last["files"], last["files_failed"],
               last["bytes_unpacked"]), ("end", "done", 2, 1, 3))
        done = run("wordcount", "--progress", "json", "--tmp", path / "missing", path / "file")
        if done.returncode:
            equal(objects(done.stderr)[-1]["status"], "failed", done.stderr)


@test
def without_a_terminal_nothing_is_shown_of_what_is_short():
    with folder() as path:
        (path / "file").write_bytes(b"a b a")
        for how in ((), ("--progress", "auto"), ("--progress", "lines"), ("--progress", "none")):
            done = run("wordcount", *how, path / "file")
            equal((done.returncode, done.stderr, done.stdout), (0, "", "a\t2\nb\t1\n"), how)


@test
def without_a_terminal_lines_come_every_few_seconds():
    start = time.monotonic()
    done = finish(slow_input(5.5, "--progress", "lines", stderr=subprocess.PIPE))
    took = time.monotonic() - start
    equal(done.returncode, 0, done.stderr)
    lines = done.stderr.decode().splitlines()
    check(1 <= len(lines) <= took / 5, took, lines)
    check(re.fullmatch(r"whorl: wordcount: counting: [\d.]+ [kM]B  [\d.]+ [kM]B/s", lines[0]),
          lines)


def screen_of(process, main_end):
    shown = b""
    while select.select([main_end], [], [], 0.2)[0]:
        try:
            shown += os.read(main_end, 65536)
        except OSError:
            break
    os.close(main_end)
    return shown.decode()


@test
def a_terminal_gets_a_bar_that_is_taken_away():
    main_end, other = pty.openpty()
    process = slow_input(1, stderr=other)
    os.close(other)
    process.communicate(timeout=30)
    shown = screen_of(process, main_end)
    check(re.search(r"\rcounting +[\d.]+ [kM]B  [\d.]+ [kM]B/s", shown), shown[:300])
    check(shown.rstrip("\r\n").split("\r\x1b[K")[-1].startswith("whorl: "), shown[-300:])


@test
def a_terminal_shows_nothing_with_progress_none():
    main_end, other = pty.openpty()
    process = slow_input(0.5, "--progress", "none", stderr=other)
    os.close(other)
    process.communicate(timeout=30)
    check("counting" not in screen_of(process, main_end))


@test
def another_way_of_showing_is_refused():
    says(run("wordcount", "--progress", "loud", "/dev/null"), 2, "none, auto, bar, lines or json")


@test
def explain_tells_the_plan_and_where_the_time_went():
    with folder() as path:
        (path / "plain").write_bytes(b"some words " * 300000)
        (path / "packed").write_bytes(gzip.compress(b"other words " * 300000))
        plain = run("wordcount", path)
        done = run("wordcount", "--explain", "--workers", "2", path)
        equal((done.returncode, done.stdout), (0, plain.stdout), done.stderr)
        for words in (r"^plan$", r"input +2 files, ", r"splits +\d+", r"workers +2",
                      r"kernel +\w+: ", r"memory +[\d.]+ GB", r"order +by count", r"^result$",
                      r"decompressed to 3.60 MB", r"front table: [\d.]+ % of 1200000 words",
                      r"^  count +\d+\.\d+ +\d+\.\d+$", r"^  tokenise +\d+\.\d+ +\d+ %$",
                      r"^  decompress +\d", r"spilled nothing", r"^  rows +0 +0 +[12]$"):
            check(re.search(words, done.stderr, re.MULTILINE), "no", words, "in", done.stderr)


def stops_at_once(process, *said):
    time.sleep(0.7 if not under_tsan() else 2)
    check(process.poll() is None, "it had ended already")
    start = time.monotonic()
    tell(process, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    took = time.monotonic() - start
    equal(process.returncode, 1, err)
    for words in said:
        check(re.search(words, err.decode()), "no", words, "in", err)
    # A loaded machine takes its time, also to end a process; alone it is a tenth of a second.
    check(took < 3, "took", took, "seconds")


def start(*arguments, **options):
    return subprocess.Popen([WHORL, "wordcount", "--progress", "none", *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@test
def an_interrupt_stops_a_large_compressed_file():
    with folder() as path:
        # As long as it takes: some 20 GB.
        member = gzip.compress(b"a few words, and again\n" * 4000000)
        (path / "large").write_bytes(member * 200)
        stops_at_once(start(path / "large"), r"interrupted after [\d.]+ \wB of [\d.]+ MB")
        with open(path / "large", "rb") as file:
            stops_at_once(start("-", stdin=file), "interrupted after")


@test
def an_interrupt_stops_a_pipe_that_says_nothing():
    with_pipe, feeder = os.pipe()
    process = start("-", stdin=with_pipe)
    os.close(with_pipe)
    os.write(feeder, b"\x1f\x8b\x08")
    stops_at_once(process, "interrupted after 0 B")
    os.close(feeder)


@test
def an_interrupt_stops_many_small_files():
    with folder() as path:
        for i in range(50):
            (path / str(i)).write_bytes(b"a few words, and again\n" * 1000)
        # Each of them many times over.
        stops_at_once(start(*[path] * 2000, "--isa", "scalar", "--workers", "1"),
                      "interrupted after")


main()
