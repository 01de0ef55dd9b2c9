#!/usr/bin/env -S python3 -B
"""whorl wordcount with less memory than it needs: what it holds, disks that are full, interruptions
in every phase, and processes that are killed and gone on with. The texts are of different words
only, whose counts are known without counting."""
import os
import pathlib
import random
import resource
import signal
import statistics
import subprocess
import sys
import time

from harness import (SLOW, WHORL, Skip, check, equal, folder, main, run, sanitizers, test,
                     under_tsan)

SEED = next((int(word[7:]) for word in sys.argv if word.startswith("--seed=")), int(time.time()))
sys.argv = [word for word in sys.argv if not word.startswith("--seed=")]

MULTIPLIER = 0x9E3779B97F
BITS = 40


def different_words(path, count):
    """Words of 10 hexadecimal digits, all different, in an order that is none."""
    with open(path, "wb") as file:
        for begin in range(0, count, 50000):
            file.write(b"".join(b"%010x\n" % (i * MULTIPLIER % (1 << BITS))
                                for i in range(begin, min(count, begin + 50000))))
    return path


def rows_of_different_words(count):
    words = sorted(i * MULTIPLIER % (1 << BITS) for i in range(count))
    return b"".join(b"%010x\t1\n" % word for word in words)


def count(*arguments, **options):
    return run("wordcount", *arguments, text=False, **options)


def names_it(text, *words):
    check(text.startswith("whorl: "), "not a message of the command:", text)
    for word in words:
        check(word in text, f"no {word!r} in:", text)


def peak_memory(*arguments):
    """The rows, and the most memory that was resident, in bytes."""
    # A process of its own starts the command: what a child's parent holds counts as the child's.
    script = ("import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
              "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); "
              "sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", script, WHORL, "wordcount",
                           *map(str, arguments)], capture_output=True, check=True, timeout=50)
    return done.stdout, int(done.stderr.split()[-1]) * 1024


@test
def memory_stays_near_the_budget_and_rows_are_exact():
    words = 1500000 // SLOW
    with folder() as path:
        file = different_words(path / "words", words)
        expected = rows_of_different_words(words)
        got, free = peak_memory("--workers", 2, file)
        check(got == expected, "wrong rows")
        got, bound = peak_memory("--workers", 2, "--memory", "16M", "--tmp", path, file)
        check(got == expected, "wrong rows with --memory 16M")
        print(f"resident: {free >> 20} MiB, with --memory 16M {bound >> 20} MiB")
        # What sanitizers add is theirs.
        if not sanitizers():
            check(bound < (16 << 20) + (12 << 20), bound)
        equal(os.listdir(path), ["words"])


@test
def a_full_disk_is_named_and_nothing_is_printed():
    with folder() as path:
        file = different_words(path / "words", 300000)
        (path / "small").mkdir()
        script = ('mount -t tmpfs -o size=1m none "$1/small" && '
                  '"$0" wordcount --memory 2M --tmp "$1/small" "$1/words"; code=$?; '
                  'ls -A "$1/small" | wc -l >&2; exit $code')
        trial = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", path / "small"],
                               capture_output=True, check=False)
        if trial.returncode:
            raise Skip("cannot mount a file system here: " + trial.stderr.decode().strip())
        done = subprocess.run(["unshare", "-rm", "sh", "-c", script, WHORL, path],
                              capture_output=True, check=False, timeout=50)
        equal(done.returncode, 1, done.stderr)
        equal(done.stdout, b"")
        text, files = done.stderr.decode().strip().rsplit("\n", 1)
        names_it(text, "small: No space left on device", "--tmp", "--memory", "MiB")
        equal(files.strip(), "0", "files left")
        del file


@test
def a_folder_that_will_not_do_is_told_before_anything_is_read():
    with folder() as path:
        file = different_words(path / "words", 1000)
        for tmp, why in ((path / "nowhere", "No such file or directory"),
                         (file, "Not a directory")):
            done = count("--tmp", tmp, file)
            equal(done.returncode, 1)
            equal(done.stdout, b"")
            names_it(done.stderr.decode(), str(tmp), why, "--tmp")
        if os.geteuid() != 0:
            (path / "sealed").mkdir(mode=0o500)
            done = count("--tmp", path / "sealed", file)
            equal(done.returncode, 1)
            names_it(done.stderr.decode(), "Permission denied", "--tmp")


def cpu_of_children():
    """Of those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of(pid):
    """What a process has used so far; 0 once it has ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@test
def an_interruption_ends_every_phase_at_once():
    """Interrupted after more and more time, until the job is through before. Nobody computes on; a
    machine with other things to do may let single ones wait, but not most of them."""
    at_once = 3.2 if under_tsan() else 0.4
    with folder() as path:
        file = different_words(path / "words", 1000000 // SLOW)
        tooks, wait = [], 0.02
        while True:
            before = cpu_of_children()
            with subprocess.Popen([WHORL, "wordcount", "--memory", "8M", "--tmp", path, file],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
                try:
                    child.wait(wait)
                except subprocess.TimeoutExpired:
                    pass
                begin, used = time.monotonic(), cpu_of(child.pid)
                child.send_signal(signal.SIGINT)
                error = child.communicate()[1].decode()
                took = time.monotonic() - begin
            used = cpu_of_children() - before - used
            if child.returncode == 0:
                break
            if child.returncode == 1:
                names_it(error, "interrupted after")
                # Before files were looked at nobody knows of how much.
                check(" of " in error or "after 0 B" in error, error)
                check(used < at_once, used, "CPU seconds after the signal")
                check(took < 10 * at_once, took)
                tooks.append(took)
            equal(os.listdir(path), ["words"])
            wait *= 1.3
        print(f"{len(tooks)} interruptions, the slowest took {max(tooks) * 1000:.0f} ms")
        check(len(tooks) >= 3, len(tooks))
        check(statistics.median(tooks) < at_once, tooks)


def batches(path):
    names = os.listdir(path) if path.exists() else []
    return sum(name.startswith("batch-") and not name.endswith(".new") for name in names)


@test
def a_killed_job_is_gone_on_with():
    random_ = random.Random(SEED)
    print("seed", SEED)
    words = 400000 // SLOW
    with folder() as path:
        file = different_words(path / "words", words)
        expected = rows_of_different_words(words)
        for memory in ("1G", "3M"):
            state, found, kills = path / "state", [], 0
            arguments = ["wordcount", "--resume", state, "--memory", memory, "--tmp", path, file]
            while True:
                with open(path / "out", "wb") as out:
                    with subprocess.Popen([WHORL, *map(str, arguments)], stdout=out) as child:
                        try:
                            # Longer each time: the job gets through in the end.
                            child.wait(random_.uniform(0.3, 1) * 0.1 * 1.3 ** kills)
                        except subprocess.TimeoutExpired:
                            child.kill()
                if child.returncode == 0:
                    break
                equal(child.returncode, -signal.SIGKILL)
                kills += 1
                # When all is printed they are removed, which may be what was interrupted.
                if (path / "out").stat().st_size < len(expected):
                    found.append(batches(state))
            check((path / "out").read_bytes() == expected, "wrong rows after", kills, "kills")
            check(found == sorted(found), "batches were lost:", found)
            check(not state.exists(), "the folder is left")
            print(f"--memory {memory}: killed {kills} times, batches {found}")


def begin_and_kill(state, file):
    """Leave a folder with some batches, but not all."""
    with subprocess.Popen([WHORL, "wordcount", "--resume", str(state), str(file)],
                          stdout=subprocess.PIPE) as child:
        while batches(state) < 1:
            time.sleep(0.001)
        child.kill()


@test
def a_folder_of_something_else_is_refused():
    with folder() as path:
        file = different_words(path / "words", 300000)
        other = different_words(path / "other", 10)
        state = path / "state"
        begin_and_kill(state, file)

        def is_refused(*arguments, why):
            done = count("--resume", state, *arguments)
            equal(done.returncode, 1, done.stderr)
            equal(done.stdout, b"")
            names_it(done.stderr.decode(), *why)

        is_refused(file, other, why=["other files", str(other), str(file)])
        is_refused("--keep-case", file, why=["other options"])
        os.utime(file, (1, 1))
        is_refused(file, why=[str(file), "has changed"])
        done = run("wordcount", "--resume", path / "new", "-", input="a b", stdin=None)
        equal(done.returncode, 2, done.stderr)
        names_it(done.stderr, "not pipes")


@test
def a_damaged_batch_is_mapped_again_or_named():
    words = 300000
    with folder() as path:
        file = different_words(path / "words", words)
        state = path / "state"
        begin_and_kill(state, file)
        batch = state / "batch-000000"
        whole = batch.read_bytes()
        # Its end tells that it is whole: without it, nothing of it is used.
        batch.write_bytes(whole[:-1])
        done = count("--resume", state, file)
        equal(done.returncode, 0, done.stderr)
        check(done.stdout == rows_of_different_words(words), "wrong rows")
        begin_and_kill(state, file)
        whole = bytearray(batch.read_bytes())
        whole[len(whole) // 3] ^= 1
        batch.write_bytes(whole)
        done = count("--resume", state, file)
        equal(done.returncode, 1, done.stderr)
        equal(done.stdout, b"")
        names_it(done.stderr.decode(), str(batch), "remove it")


@test
def two_jobs_do_not_share_a_folder():
    with folder() as path:
        file = different_words(path / "words", 300000)
        with subprocess.Popen([WHORL, "wordcount", "--resume", str(path / "state"), str(file)],
                              stdout=subprocess.PIPE) as child:
            while batches(path / "state") < 1:
                time.sleep(0.001)
            # It waits for somebody to read what it prints.
            done = count("--resume", path / "state", file)
            child.communicate()
        equal(child.returncode, 0)
        equal(done.returncode, 1)
        names_it(done.stderr.decode(), "another job")


main()
