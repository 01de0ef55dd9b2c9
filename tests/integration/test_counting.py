#!/usr/bin/env -S python3 -B
"""What whorl wordcount and whorl ngram have in common, once for each: the same rows on threads and
processes, with little memory, from compressed files, past the page cache and after kills; formats,
progress, plans, interruptions and wrong options. The files are made from a seed, which --seed=N
gives back."""
import collections
import csv
import gzip
import io
import json
import os
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import time

from harness import BUILD, SLOW, WHORL, Skip, check, equal, folder, main, run, says, test

SEED = next((int(word[7:]) for word in sys.argv if word.startswith("--seed=")), int(time.time()))
sys.argv = [word for word in sys.argv if not word.startswith("--seed=")]
PHASES = ["walk", "map", "reduce", "output", "end"]


class Kind:
    """A command, a line of its input, and what that counts."""

    def __init__(self, name, list_name, key_name):
        self.name, self.list_name, self.key_name = name, list_name, key_name

    def line(self, key, number):
        return key + b"\n" if self.name == "wordcount" else b"%s\t1987\t%d\t1\n" % (key, number)

    def number(self, random_):
        return 1 if self.name == "wordcount" else random_.getrandbits(random_.choice((4, 30, 38)))


KINDS = [Kind("wordcount", "words", "word"), Kind("ngram", "ngrams", "ngram")]


def for_each_kind(function):
    """A test for each command, named after it."""
    for kind in KINDS:
        def one(kind=kind):
            function(kind)
        one.__name__ = f"{function.__name__}_{kind.name}"
        test(one)
    return function


def lines(kind, count, keys, seed=SEED):
    """Lines of keys of all lengths, and the rows that they come to."""
    random_, out, sums = random.Random(seed), [], collections.Counter()
    vocabulary = [b"%x%s" % (i, b"~" * random_.choice((0, 0, 4, 12, 13, 30))) for i in range(keys)]
    for _ in range(count):
        key, number = random_.choice(vocabulary), kind.number(random_)
        out.append(kind.line(key, number))
        sums[key] += number
    rows = sorted(sums.items(), key=lambda row: (-row[1], row[0]))
    return b"".join(out), rows


def tsv(rows):
    return b"".join(b"%s\t%d\n" % row for row in rows)


def write(path, data):
    path.write_bytes(data)
    return path


def count(kind, *arguments, **options):
    """Runs it; what would be told of its progress after some seconds is left out."""
    return run(kind.name, "--progress", "none", *arguments, text=False, **options)


def prints(kind, rows, *arguments):
    done = count(kind, *arguments)
    equal(done.returncode, 0, arguments, done.stderr)
    check(done.stdout == tsv(rows), kind.name, arguments, "seed", SEED, "wrong rows")
    return done.stderr.decode()


@for_each_kind
def threads_and_processes_print_the_same_rows(kind):
    data, rows = lines(kind, 120000 // SLOW, 20000)
    with folder() as path:
        half = data.rindex(b"\n", 0, len(data) // 2) + 1
        files = [write(path / "a", data[:half]), write(path / "b", data[half:])]
        for options in ((), ("--workers", 3), ("--processes", 1), ("--processes", 3),
                        ("--processes", 2, "--memory", "2M", "--tmp", path),
                        ("--memory", "2M", "--tmp", path), ("--direct",),
                        ("--direct", "--memory", "4M"), ("--backend", "epoll")):
            equal(prints(kind, rows, *options, *files), "")
        said = prints(kind, rows, "--processes", 2, "--stats", *files)
        check(re.search(r"2 processes, 0 died", said), said)


@for_each_kind
def compressed_files_are_decompressed_on_threads_and_processes(kind):
    data, rows = lines(kind, 30000 // SLOW, 5000)
    with folder() as path:
        packed = [write(path / "a", gzip.compress(data))]
        twice = [(key, number * 2) for key, number in rows]
        if shutil.which("zstd"):
            packed.append(write(path / "b", subprocess.run(
                ["zstd", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout))
        else:
            packed.append(write(path / "b", gzip.compress(data, 1)))
        for options in ((), ("--processes", 2), ("--resume", path / "state")):
            equal(prints(kind, twice, *options, path), "")
        write(path / "b", packed[0].read_bytes()[:-4])
        for options in ((), ("--processes", 2)):
            done = count(kind, *options, path)
            equal(done.returncode, 1, done.stderr)
            said = f"whorl: {kind.name}: cannot read {path}/b: the gzip data end too early"
            check(said.encode() in done.stderr, options, done.stderr)


@for_each_kind
def formats_and_limits_are_those_of_the_rows(kind):
    data, rows = lines(kind, 3000, 300)
    with folder() as path:
        file = write(path / "f", data)
        prints(kind, rows[:7], "--top", 7, file)
        least = rows[len(rows) // 2][1]
        prints(kind, [row for row in rows if row[1] >= least], "--min-count", least, file)
        answer = json.loads(count(kind, "--format", "json", file).stdout)
        equal([(row[kind.key_name].encode(), row["count"]) for row in answer[kind.list_name]], rows)
        equal(answer, json.loads(count(kind, "--json", file).stdout))
        equal((answer["different"], answer["bytes"], answer["files"], answer["partial"]),
              (len(rows), len(data), 1, False))
        text = count(kind, "--format", "csv", file).stdout.decode()
        table = list(csv.reader(io.StringIO(text)))
        equal(table, [[kind.key_name, "count"]] +
              [[key.decode(), str(number)] for key, number in rows])
        binary, at, got = count(kind, "--format", "binary", file).stdout, 8, []
        equal(binary[:8], b"whorlrow")
        while True:
            length, number = struct.unpack_from("<QQ", binary, at)
            if length == 0:
                equal((number, at + 16), (len(rows), len(binary)))
                break
            got.append((binary[at + 16:at + 16 + length], number))
            at += 16 + length
        equal(got, rows)


@for_each_kind
def progress_is_json_from_the_first_phase_to_the_end(kind):
    reader, feeder = os.pipe()
    with subprocess.Popen([WHORL, kind.name, "--progress", "json", "-"], stdin=reader,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        os.close(reader)
        with open(feeder, "wb") as out:
            for _ in range(3):
                out.write(kind.line(b"key", 5) * 1000)
                out.flush()
                # Until the next object has come.
                process.stderr.readline()
        told = [json.loads(line) for line in process.stderr.read().splitlines()]
    equal(process.returncode, 0)
    order = [PHASES.index(one["phase"]) for one in told]
    equal(order, sorted(order))
    equal((told[-1]["phase"], told[-1]["status"]), ("end", "done"))
    equal(told[-1]["bytes"], 3000 * len(kind.line(b"key", 5)))


@for_each_kind
def explain_tells_the_plan_and_where_the_time_went(kind):
    data, rows = lines(kind, 60000 // SLOW, 5000)
    with folder() as path:
        said = prints(kind, rows, "--explain", "--workers", 2, write(path / "f", data))
        for words in (r"^plan$", r"input +1 files, ", r"workers +2", r"^result$", r"^phases",
                      r"^  count +\d", r"spilled nothing", r"^partitions +min"):
            check(re.search(words, said, re.MULTILINE), "no", words, "in", said)
        said = prints(kind, rows, "--explain", "--processes", 2, path)
        for words in (r"processes +2, which count", r"^  count +\d+\.\d+ +\d+ %$",
                      r"^steps, of \d+ workers? and all processes together"):
            check(re.search(words, said, re.MULTILINE), "no", words, "in", said)


def batches(path):
    names = os.listdir(path) if path.exists() else []
    return sum(name.startswith("batch-") and not name.endswith(".new") for name in names)


def run_until_killed(kind, state, batch_count, *arguments):
    """Kill it once it has so many batches, or else prints, for which nobody waits."""
    with subprocess.Popen([WHORL, kind.name, "--resume", str(state), *map(str, arguments)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        while batches(state) < batch_count and not select.select([child.stdout], [], [], 0.001)[0]:
            pass
        child.kill()


def supported(kind):
    names = ("avx512", "avx2", "sse2", "neon", "scalar")
    return [name for name in names if run(kind.name, "--isa", name, "/dev/null").returncode == 0]


@for_each_kind
def a_killed_job_goes_on_with_any_instruction_set_on_threads_and_processes(kind):
    data, rows = lines(kind, 400000 // SLOW, 50000)
    isas = supported(kind)
    with folder() as path:
        for number in range(3):
            write(path / f"f{number}", data)
        files = sorted(path.iterdir())
        thrice = [(key, number * 3) for key, number in rows]
        for last in (("--processes", 2), ("--memory", "2M", "--tmp", path), ()):
            state, done = path / "state", 0
            for isa in isas:
                how = ("--processes", 2) if done % 2 else ()
                run_until_killed(kind, state, done + 1, "--isa", isa, *how, *files)
                check(batches(state) >= max(done, 1), "what was kept is lost")
                done = batches(state)
            prints(kind, thrice, "--resume", state, *last, *files)
            check(not state.exists(), "the folder is left")


@for_each_kind
def what_was_counted_elsewhere_is_not_counted_again(kind):
    """All of it by one instruction set; only the end is left, to another one."""
    isas = supported(kind)
    if len(isas) < 2:
        raise Skip("this processor has one instruction set only")
    data, rows = lines(kind, 200000 // SLOW, 30000)
    with folder() as path:
        file, state = write(path / "f", data), path / "state"
        with open(path / "out", "wb") as out, open("/dev/full", "wb") as full:
            done = count(kind, "--resume", state, "--isa", isas[0], file, stdout=full)
            equal(done.returncode, 1, done.stderr)
            kept = batches(state)
            check(kept > 0, "nothing was kept")
            done = count(kind, "--resume", state, "--isa", isas[-1], "--json", file, stdout=out)
            equal(done.returncode, 0, done.stderr)
        answer = json.loads((path / "out").read_bytes())
        equal(len(answer[kind.list_name]), len(rows))
        equal((answer["different"], answer["bytes"]), (len(rows), len(data)))
        equal(answer["total"], 200000 // SLOW)


@for_each_kind
def a_job_with_other_options_is_not_gone_on_with(kind):
    data, _ = lines(kind, 200000 // SLOW, 30000)
    with folder() as path:
        file, state = write(path / "f", data), path / "state"
        run_until_killed(kind, state, 1, file)
        other = {"wordcount": "--keep-case", "ngram": "--skip-bad"}[kind.name]
        done = run(kind.name, "--resume", state, other, file)
        says(done, 1, "other options", "name another folder, or remove it")
        os.utime(file, (1, 1))
        says(run(kind.name, "--resume", state, file), 1, "has changed since")
        done = run(kind.name, "--resume", path / "new", "-", input="a\t1\t1\t1\n", stdin=None)
        says(done, 2, "not pipes")


@for_each_kind
def an_interruption_says_how_far_it_came(kind):
    reader, feeder = os.pipe()
    for partial in (False, True):
        arguments = [WHORL, kind.name, *["--partial"] * partial, "--progress", "json", "-"]
        with subprocess.Popen(arguments, stdin=reader, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            os.write(feeder, kind.line(b"key", 5) * 1000)
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        equal(process.returncode, 1, err)
        check(re.search(rb"whorl: %s: interrupted after [\d.]+ k?B; " % kind.name.encode(), err),
              err)
        check((b"part only" if partial else b"--partial") in err, err)
        if not partial:
            equal(out, b"")


@for_each_kind
def wrong_options_are_named_with_the_cure(kind):
    for arguments, words in (
            ([], ("no file to count", "- is standard input")),
            (["--tpo", "1", "f"], ("unknown option '--tpo'", "did you mean '--top'")),
            (["--top", "0", "f"], ("--top takes a number from 1",)),
            (["--workers", "1025", "f"], ("--workers takes a number from 1 to 1024",)),
            (["--processes", "0", "f"], ("--processes takes a number from 1",)),
            (["--memory", "1k", "f"], ("--memory takes a number from 1000000",)),
            (["--memory", "1T", "f"], ("--memory takes a number", "'1T'")),
            (["--format", "xml", "f"], ("--format is tsv, csv, json or binary, not 'xml'",)),
            (["--json", "--format", "csv", "f"], ("--json means --format json, not csv",)),
            (["--progress", "loud", "f"], ("none, auto, bar, lines or json, not 'loud'",)),
            (["--isa", "mmx", "f"], ("no instruction set is called 'mmx'", "avx2", "scalar")),
            (["--backend", "kqueue", "f"], ("kqueue|uring",)),
            (["--direct", "--processes", "2", "/dev/null"],
             ("processes read through the page cache", "leave processes or direct out")),
            (["--resume"], ("--resume needs a value",)),
            (["--direct=1", "f"], ("--direct takes no value",))):
        done = run(kind.name, *arguments)
        says(done, 2, *words)
        check(done.stderr.count("\n") == 1 and done.stdout == "", done.stderr, done.stdout)


@for_each_kind
def every_option_is_in_the_help(kind):
    text = run(kind.name, "--help").stdout
    for option in ("--top", "--min-count", "--format", "--json", "--workers", "--processes",
                   "--memory", "--tmp", "--direct", "--no-decompress", "--resume", "--progress",
                   "--explain", "--partial", "--stats", "--isa", "--backend"):
        check(re.search(rf"^  {option}\b", text, re.MULTILINE), option)
    check(max(map(len, text.splitlines())) <= 90, "a line is too long")


# Only ngrams

@test
def versions_are_told_apart_between_processes():
    with folder() as path:
        many = [write(path / f"f{i}", b"a\t1987\t%d\t1\n" % i * 10000) for i in range(8)]
        old = write(path / "old", b"b\t1987\t1\t1\t1\n" * 10000)
        done = run("ngram", "--processes", 3, *many, old)
        says(done, 1)
        check("unlike others" in done.stderr and done.stdout == "", done.stderr)
        says(run("ngram", "--processes", 3, "--skip-bad", *many, old), 1, "--version")
        done = run("ngram", "--processes", 3, "--skip-bad", "--version", 2012, *many, old)
        equal((done.returncode, done.stdout), (0, "a\t280000\n"), done.stderr)
        check("10000 bad lines were left out" in done.stderr, done.stderr)
        check(f"{old}: line 1 (byte 0): the line is of the version of 2009" in done.stderr,
              done.stderr)
        # What comes over a pipe is counted here, and has to agree.
        says(run("ngram", "--processes", 2, many[0], "-", input="b\t1\t1\t1\t1\n", stdin=None), 1,
             "standard input: the line at byte 0", "unlike others")


@test
def a_bad_line_in_a_process_is_named():
    good = b"a\t1987\t1\t1\n" * 1000
    with folder() as path:
        file = write(path / "bad", good + b"b\t1987\tx5\t1\n" + good)
        where = rf"bad: line 1001 \(byte {len(good)}\): the match count is not a number"
        says(run("ngram", "--processes", 2, file), 1, where)
        done = run("ngram", "--processes", 2, "--skip-bad", "--json", file)
        says(done, 0, where, "1 bad line was left out")
        equal(json.loads(done.stdout)["skipped"], 1)


@test
def sums_of_more_than_32_and_40_bits_come_from_processes():
    with folder() as path:
        for i in range(4):
            write(path / f"f{i}", b"".join(b"w%d\t1987\t%d\t1\n" % (j % 7, (1 << 32) + j)
                                           for j in range(3000)) +
                  b"wide\t1987\t%d\t1\n" % (1 << 61))
        plain = run("ngram", path)
        equal(plain.returncode, 0, plain.stderr)
        check(plain.stdout.startswith("wide\t9223372036854775808\n"), plain.stdout[:50])
        for by in ("ngram", "both", "year"):
            equal(run("ngram", "--processes", 2, "--by", by, path).stdout,
                  run("ngram", "--by", by, path).stdout)
        write(path / "f9", b"wide\t1\t%d\t1\n" % (2**64 - 2))
        says(run("ngram", "--processes", 2, path), 1, "add up to more than 18446744073709551614")


@test
def skipped_lines_and_the_version_outlive_a_kill():
    with folder() as path:
        good = b"".join(b"n%d\t1987\t1\t1\n" % (i % 9999) for i in range(150000 // SLOW))
        write(path / "a", b"no ngram\n" + good)
        write(path / "b", good)
        write(path / "c", good)
        whole = run("ngram", "--skip-bad", path / "a", path / "b", path / "c")
        for first, then in (((), ("--processes", 2)), (("--processes", 2), ())):
            state, files = path / "state", [path / name for name in "abc"]
            run_until_killed(KINDS[1], state, 1, "--skip-bad", *first, *files)
            done = run("ngram", "--skip-bad", "--resume", state, *then, *files)
            equal((done.returncode, done.stdout == whole.stdout), (0, True), done.stderr)
            check("a: line 1 (byte 0): there is no tab" in done.stderr, done.stderr)
            check("1 bad line was left out" in done.stderr, done.stderr)


@test
def a_process_that_dies_takes_nothing_along():
    generator = BUILD / "bench/ngram_gen"
    if not generator.exists():
        raise Skip("bench/ngram_gen is not built")
    with folder() as path:
        with open(path / "f", "wb") as file:
            subprocess.run([generator, "--words", "60000", "--grams", "3", "--order", "shuffled",
                            "--to", str(3000000 // SLOW)], check=True, stdout=file)
        expected = run("ngram", path / "f").stdout
        with subprocess.Popen([WHORL, "ngram", "--processes", "2", "--stats", str(path / "f")],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            killed = 0
            while child.poll() is None and killed < 2:
                killed += kill_a_worker(child.pid)
            out, err = child.communicate(timeout=50)
        equal((child.returncode, out == expected), (0, True), err)
        died = int(re.search(r"(\d+) died", err).group(1))
        check(1 <= died <= killed, killed, "killed;", err)


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def kill_a_worker(pid):
    """The program's zygote has nurseries, which have the workers."""
    for zygote in children(pid):
        for nursery in children(zygote):
            for worker in children(nursery)[:1]:
                os.kill(worker, signal.SIGKILL)
                time.sleep(0.05)
                return 1
    return 0


main()
