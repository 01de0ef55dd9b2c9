#!/usr/bin/env python3
"""Tasks of `whorl mr` on one machine: any order, any number of times, with anything wrong, and the
result is byte for byte that of one process, or there is a reason."""
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from harness import WHORL, check, equal, folder, main, run, says, test, under_tsan

TEXT_BYTES = 300_000
PARTS = 5
RETRY, AGAIN, MACHINE = 4, 5, 3


def text(seed, size=TEXT_BYTES):
    """Words of all lengths up to some hundred bytes, with bytes that are not UTF-8."""
    numbers, out = random.Random(seed), bytearray()
    while len(out) < size:
        word = b"w%d" % int(1 / (1 - numbers.random()))
        if numbers.random() < 0.01:
            word += bytes(numbers.randrange(0x21, 256) for _ in range(numbers.randrange(300)))
        out += word + numbers.choice([b" ", b"\n", b"\t", b"\0 "])
    return bytes(out)


def mr(*arguments, **options):
    return run("mr", *arguments, **options)


def good(done):
    equal(done.returncode, 0, done.stderr)
    return done.stdout


def inputs(path):
    """A large file, small ones with odd names, an empty one, and one in a folder."""
    (path / "in" / "deeper").mkdir(parents=True)
    (path / "in" / "large").write_bytes(text(1))
    for number, name in enumerate(["a b", "100%", "pipe|pipe", "new\nline", "\udcff\udc80"]):
        (path / "in" / name).write_bytes(text(number + 2, 2000))
    (path / "in" / "empty").write_bytes(b"")
    (path / "in" / "deeper" / "file").write_bytes(text(99, 5000))
    return path / "in"


def plan(path, *arguments):
    good(mr("plan", "--dir", path / "run", "--split-bytes", 40_000, "--parts", PARTS, "wordcount",
            inputs(path), *arguments))
    lines = (path / "run" / "plan").read_text(encoding="ascii").splitlines()
    return path / "run", int(lines[-1].split("|")[1])


def map_task(directory, task, **options):
    return mr("map", "--dir", directory, "--task", task, "--workers", 1, **options)


def reduce_part(directory, part):
    return mr("reduce", "--dir", directory, "--part", part, "--workers", 1)


def merge(directory):
    return mr("merge", "--dir", directory, text=False)


def oracle(path, *options):
    return good(run("wordcount", *options, path, text=False))


def run_all(directory, tasks):
    for task in range(tasks):
        good(map_task(directory, task))
    for part in range(PARTS):
        good(reduce_part(directory, part))


@test
def tasks_in_any_order_and_number_give_what_one_process_gives():
    with folder() as path:
        directory, tasks = plan(path)
        check(tasks >= 7, tasks, "tasks")
        order = list(range(tasks)) * 2
        random.Random(5).shuffle(order)
        for attempt, task in enumerate(order):
            good(mr("map", "--dir", directory, "--task", task, "--attempt", attempt, "--parts",
                    PARTS))
        for part in [3, 1, 4, 1, 0, 2, 3]:
            good(reduce_part(directory, part))
        check(good(merge(directory)) == oracle(path / "in"), "another result")


@test
def every_split_size_and_number_of_parts_gives_the_same():
    with folder() as path:
        (path / "text").write_bytes(text(7, 3000))
        expected = oracle(path / "text")
        for split, parts in ((1, 1), (7, 3), (100, 16), (2999, 2), (3000, 64), (10**9, 1)):
            directory = path / f"run{split}"
            if split == 1:
                (path / "short").write_bytes(b"a bb a\nccc")
                out = good(mr("run", "--split-bytes", 1, "--parts", 2, "wordcount",
                              path / "short", text=False))
                check(out == oracle(path / "short"), "split after every byte")
                continue
            out = good(mr("run", "--dir", directory, "--split-bytes", split * (1 + (split < 50)),
                          "--parts", parts, "wordcount", path / "text", text=False,
                          timeout=40))
            check(out == expected, split, parts, "another result")
            check(not directory.exists(), "the run's files were left")


@test
def the_same_task_many_times_at_once_does_no_harm():
    with folder() as path:
        directory, tasks = plan(path)
        several = [subprocess.Popen([WHORL, "mr", "map", "--dir", str(directory), "--task",
                                     str(task), "--workers", "1"])
                   for task in (list(range(tasks)) + [0] * 8)]
        for process in several:
            equal(process.wait(timeout=40), 0)
        several = [subprocess.Popen([WHORL, "mr", "reduce", "--dir", str(directory), "--part",
                                     str(part), "--workers", "1"])
                   for part in [0, 1, 2, 3, 4, 2, 2, 2, 2]]
        for process in several:
            equal(process.wait(timeout=40), 0)
        check(good(merge(directory)) == oracle(path / "in"), "another result")


@test
def the_options_of_the_job_are_in_the_plan():
    with folder() as path:
        directory, tasks = plan(path, "--top", 17, "--min-count", 3)
        run_all(directory, tasks)
        out = good(merge(directory)).splitlines()
        equal(out, oracle(path / "in", "--top", 17).splitlines()[:17])
        check(int(out[-1].split(b"\t")[1]) >= 3, "below the minimum")


@test
def every_format_and_kind_of_word_is_what_wordcount_prints():
    with folder() as path:
        source = inputs(path)
        with gzip.open(source / "packed", "wb") as packed:
            packed.write(text(12, 60_000))
        for options in (["--format", "json", "--min-count", "2"], ["--format", "csv"],
                        ["--format", "binary", "--top", "9"], ["--keep-case"],
                        ["--words", "a-z0-9_", "--unicode"], ["--words", "^,;\\n%|"]):
            out = good(mr("run", "--split-bytes", 40_000, "--parts", 3, *options, "wordcount",
                          source, text=False))
            check(out == oracle(source, *options), options, "another result")


@test
def ngrams_add_up_as_in_one_process():
    with folder() as path:
        numbers = random.Random(11)
        lines = [f"gram {int(1 / (1 - numbers.random()))}\t{numbers.randrange(1800, 2009)}\t"
                 f"{numbers.randrange(1, 10**6)}\t3\n" for _ in range(6000)]
        (path / "grams").write_text("".join(lines), encoding="ascii")
        for options in ([], ["--by", "year"], ["--by", "both", "--version", "2012", "--top", "50"],
                        ["--format", "json"]):
            out = good(mr("run", "--split-bytes", 30_000, "--parts", 3, *options, "ngram",
                          path / "grams"))
            equal(out, good(run("ngram", *options, path / "grams")), options)
        (path / "grams").write_text("".join(lines) + "no ngram\n", encoding="ascii")
        says(mr("run", "--dir", path / "run", "ngram", path / "grams"), 1, "that is final",
             "grams")
        says(mr("run", "--by", "year", "wordcount", path / "grams"), 2, "--by is no option")
        says(mr("run", "--by", "month", "ngram", path / "grams"), 2, "cannot be 'month'")


@test
def sums_that_are_too_large_only_over_all_tasks_are_refused():
    with folder() as path:
        (path / "a").write_bytes(b"a\t1987\t18446744073709551613\t1\n")
        (path / "b").write_bytes(b"a\t1988\t1\t1\n")
        (path / "c").write_bytes(b"a\t1989\t1\t1\n")
        options = ("--split-bytes", 1, "--parts", 2, "ngram")
        out = good(mr("run", *options, path / "a", path / "b"))
        equal(out, "a\t18446744073709551614\n")
        says(mr("run", "--dir", path / "run", *options, path / "a", path / "b", path / "c"), 1,
             "add up to more than 18446744073709551614", "final")


@test
def bad_lines_are_left_out_and_named_as_by_one_process():
    with folder() as path:
        good = b"".join(b"gram %d\t1987\t%d\t3\n" % (i % 700, i) for i in range(9000))
        (path / "a").write_bytes(good)
        (path / "b").write_bytes(good + b"no ngram\n" + good + b"\n")
        for options in (["--format", "json"], ["--by", "year", "--version", "2012"]):
            one = run("ngram", "--skip-bad", *options, path / "a", path / "b")
            done = mr("run", "--split-bytes", 30_000, "--parts", 3, "--skip-bad", *options,
                      "ngram", path / "a", path / "b")
            equal((done.returncode, done.stdout == one.stdout), (0, True), done.stderr)
            # The same two lines, of another command.
            equal(done.stderr.replace("mr merge:", "ngram:"), one.stderr)
        says(mr("run", "--skip-bad", "wordcount", path / "a"), 2, "--skip-bad is no option")


@test
def map_tasks_have_to_agree_on_the_version_of_lines():
    with folder() as path:
        (path / "a").write_bytes(b"a\t1987\t1\t1\n" * 100)
        (path / "b").write_bytes(b"a\t1987\t1\t1\t1\n" * 100)
        for skip in ([], ["--skip-bad"]):
            done = mr("run", "--dir", path / "run", "--split-bytes", 1000, *skip, "ngram",
                      path / "a", path / "b")
            says(done, 1, "of the version of 2012, those of task 1 of 2009", "--version",
                 "that is final")
            shutil.rmtree(path / "run")
        out = good(mr("run", "--split-bytes", 1000, "--skip-bad", "--version", 2009, "ngram",
                      path / "a", path / "b"))
        equal(out, "a\t100\n")


@test
def progress_is_json_in_every_phase_and_for_every_task():
    phases = ["walk", "map", "reduce", "output", "end"]
    with folder() as path:
        (path / "text").write_bytes(text(8, 400_000))
        done = mr("run", "--dir", path / "run", "--keep", "--split-bytes", 5000, "--progress",
                  "json", "wordcount", path / "text", text=False)
        equal(done.returncode, 0, done.stderr)
        told = [json.loads(line) for line in done.stderr.splitlines()]
        order = [phases.index(one["phase"]) for one in told]
        equal(order, sorted(order))
        last = told[-1]
        equal((last["phase"], last["status"], last["bytes"], last["files"]),
              ("end", "done", (path / "text").stat().st_size, 1))
        for task in (["map", "--task", 0], ["reduce", "--part", 0], ["merge"]):
            done = mr(*task, "--dir", path / "run", "--progress", "json",
                      text=False)
            equal(done.returncode, 0, done.stderr)
            equal(json.loads(done.stderr.splitlines()[-1])["status"], "done")
            says(mr(*task, "--dir", path / "run", "--progress", "loud"), 2, "not 'loud'")


@test
def tasks_that_may_use_little_memory_give_the_same():
    with folder() as path:
        words = [b"%x" % (n * 2654435761 % (1 << 40)) for n in range(200_000)]
        (path / "text").write_bytes(b" ".join(words))
        out = good(mr("run", "--parts", 2, "--memory", "1M", "--tmp", path, "wordcount",
                      path / "text", text=False))
        check(out == oracle(path / "text"), "another result")


@test
def an_input_that_changed_is_refused_by_name():
    with folder() as path:
        directory, _ = plan(path)
        large = path / "in" / "large"
        os.utime(large, ns=(0, large.stat().st_mtime_ns + 1))
        task = next(line.split("|")[0]
                    for line in (directory / "plan").read_text(encoding="ascii").splitlines()
                    if "/large|" in line)
        says(map_task(directory, task), 1, "large has changed since the plan")
        large.unlink()
        says(map_task(directory, task), RETRY, "large: No such file")


@test
def a_damaged_or_missing_part_names_the_map_task():
    with folder() as path:
        directory, tasks = plan(path)
        for task in range(tasks):
            good(map_task(directory, task))
        part = next(directory.glob("map/000002/*-p0001"))
        whole = part.read_bytes()

        def spoil(data, *words):
            part.write_bytes(data)
            done = reduce_part(directory, 1)
            says(done, AGAIN, "map task 2 has to be run again", *words)
            equal(done.stdout, "again|map|2\n")

        for at in random.Random(3).sample(range(len(whole)), 20):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << at % 8
            spoil(damaged)
        spoil(whole[:-1], "not as long")
        spoil(b"", "not as long")
        part.unlink()
        done = reduce_part(directory, 1)
        says(done, AGAIN, "map task 2", "No such file")
        # A marker that is damaged is none.
        marker = directory / "map" / "000004" / "done"
        good(map_task(directory, 2))
        data = bytearray(marker.read_bytes())
        data[192 + 85 + 20] ^= 1
        marker.write_bytes(data)
        done = reduce_part(directory, 1)
        says(done, AGAIN, "map task 4 has to be run again", "not done")
        good(map_task(directory, 4))
        good(reduce_part(directory, 1))


@test
def parts_of_another_plan_are_not_taken():
    with folder() as path:
        directory, tasks = plan(path)
        run_all(directory, tasks)
        (directory / "plan").unlink()
        good(mr("plan", "--dir", directory, "--parts", PARTS, "wordcount", path / "in"))
        says(reduce_part(directory, 0), AGAIN, "map task 0")
        done = mr("plan", "--dir", directory, "wordcount", path / "in")
        says(done, 1, "has a plan already")


@test
def a_plan_that_is_damaged_is_refused():
    with folder() as path:
        directory, _ = plan(path)
        whole = (directory / "plan").read_bytes()
        for at in random.Random(4).sample(range(len(whole)), 20):
            data = bytearray(whole)
            data[at] ^= 1 << at % 7
            (directory / "plan").write_bytes(data)
            says(map_task(directory, 0), 1, "damaged")
        (directory / "plan").write_bytes(whole[:len(whole) // 2])
        says(map_task(directory, 0), 1, "damaged")
        (directory / "plan").unlink()
        says(map_task(directory, 0), MACHINE, "does this host see the directory")


@test
def run_makes_damaged_parts_and_results_again():
    with folder() as path:
        directory, tasks = plan(path)
        run_all(directory, tasks)
        for pattern in ("map/000003/*-p0002", "map/000001/*-p0004"):
            part = next(directory.glob(pattern))
            data = bytearray(part.read_bytes())
            data[60] ^= 1
            part.write_bytes(data)
        for part in (2, 4):
            (directory / "reduce" / f"{part:06}" / "done").unlink()
        result = next(path for path in directory.glob("reduce/000000/*") if path.name != "done")
        result.write_bytes(result.read_bytes()[:-5] + b"xxxxx")
        done = mr("run", "--resume", "--dir", directory, text=False)
        equal(done.returncode, 0, done.stderr)
        check(done.stdout == oracle(path / "in"), "another result")
        for words in (b"map task 3 has to", b"map task 1 has to", b"part 0 has to be reduced"):
            check(words in done.stderr, words, done.stderr)
        check(not directory.exists(), "the run's files were left")


@test
def damage_that_comes_back_ends_the_run_in_the_end():
    with folder() as path:
        directory, tasks = plan(path)
        for task in range(tasks):
            good(map_task(directory, task))
        # A file where the task's results should go: whatever is tried, it fails.
        (directory / "reduce").mkdir()
        (directory / "reduce" / "000001").write_bytes(b"")
        done = mr("run", "--resume", "--dir", directory, "--retries", 2)
        says(done, 1, "attempt 3; that was the last attempt", "Not a directory", "--resume")


@test
def a_run_that_was_killed_is_resumed():
    with folder() as path:
        (path / "text").write_bytes(text(8, 400_000))
        directory = path / "run"
        process = subprocess.Popen([WHORL, "mr", "run", "--dir", directory, "--split-bytes",
                                    "5000", "--processes", "2", "wordcount", path / "text"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        end = time.monotonic() + 30
        while len(list(directory.glob("map/*/done"))) < 5 and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=10)
        equal(out, b"", "output of a run that was killed")
        before = len(list(directory.glob("map/*/done")))
        check(5 <= before < 80, before, "tasks were done")
        done = mr("run", "--resume", "--dir", directory, "--output", path / "out")
        equal(done.returncode, 0, done.stderr)
        check((path / "out").read_bytes() == oracle(path / "text"), "another result")


@test
def an_interrupted_run_says_how_to_go_on_and_leaves_no_process():
    with folder() as path:
        (path / "text").write_bytes(text(8, 400_000))
        process = subprocess.Popen([WHORL, "mr", "run", "--dir", path / "run", "--split-bytes",
                                    "2000", "wordcount", path / "text"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 30
        while not list((path / "run").glob("map/*/done")) and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        equal((process.returncode, out), (1, ""), err)
        check(re.search(r"interrupted after \d+ of \d+ map tasks \([\d.]+ k?B of [\d.]+ kB\) and "
                        r"0 of 16 reduce tasks", err), err)
        check(f"--resume --dir {path}/run" in err, err)


def interrupted_merge(directory, seconds):
    """Its result, status and complaint when it is interrupted so late and nobody reads of it."""
    with subprocess.Popen([WHORL, "mr", "merge", "--dir", directory], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        # What it complains of, before anybody reads: it must not wait for that.
        err = process.stderr.read().decode()
        took = time.monotonic() - begin
        out = process.stdout.read()
    return process.returncode, out, err, took


@test
def an_interrupted_merge_says_how_far_it_came_at_once():
    """In the middle of one result that is checked, or while nobody reads what it prints."""
    with folder() as path:
        words = b"".join(b"word%07d " % i for i in range(400_000))
        (path / "text").write_bytes(words)
        directory = path / "run"
        good(mr("plan", "--dir", directory, "--parts", 1, "wordcount", path / "text"))
        good(map_task(directory, 0))
        good(reduce_part(directory, 0))
        whole, said = oracle(path / "text"), set()
        for step in range(12):
            code, out, err, took = interrupted_merge(directory, 0.01 * step)
            check(took < (0.8 if under_tsan() else 0.1) * 4, took)
            if code == -signal.SIGINT:
                continue
            equal(code, 4, err)
            found = re.search(r"interrupted after (checking [\d.]+ \w?B of [\d.]+ \w?B of results; "
                              r"nothing was printed|\d+ of 400000 rows)\n$", err)
            check(found, err)
            said.add("rows" if "rows" in found[0] else "checking")
            check(whole.startswith(out), "what came out is not the first of the rows")
            check("rows" in found[0] or not out, "rows were printed")
        check("rows" in said, said)


@test
def an_output_that_cannot_be_written_is_named_and_nothing_is_lost():
    with folder() as path:
        directory, tasks = plan(path)
        run_all(directory, tasks)
        says(mr("merge", "--dir", directory, "--output", path / "no" / "out"), 1, "no/out: No such")
        with open("/dev/full", "wb") as full:
            says(mr("merge", "--dir", directory, stdout=full), 1, "No space left")
        check(good(merge(directory)) == oracle(path / "in"), "another result")


@test
def wrong_words_are_told():
    with folder() as path:
        (path / "text").write_bytes(b"a")
        says(mr("reduse"), 2, "did you mean 'reduce'")
        says(mr("plan", "--dir", path / "run", "wordcont", path / "text"), 2,
             "did you mean 'wordcount'")
        says(mr("run", "wordcount"), 2, "takes a job and its input")
        says(mr("run", "--on", "moon", "wordcount", path / "text"), 2, "dask://HOST:PORT")
        says(mr("run", "--on", "slurm", "wordcount", path / "text"), 2, "needs --dir")
        says(mr("run", "--resume"), 2, "--resume takes --dir")
        says(mr("plan", "--dir", path / "run", "wordcount", "-"), 1, "cannot read -")
        says(mr("plan", "--dir", path / "run", "wordcount", "/dev/null"), 1, "is no file")
        good(mr("plan", "--dir", path / "run", "wordcount", path / "text"))
        says(mr("map", "--dir", path / "run", "--task", 1), 2, "there is no 1")
        says(mr("reduce", "--dir", path / "run", "--part", 0, "--parts", 3), 2, "16 parts, not 3")
        for word in ("run", "plan", "map", "reduce", "merge"):
            check(re.match(f"usage: whorl mr {word} ", good(mr(word, "--help"))), word)


if not under_tsan():
    main()
else:
    print("skipped: one process a task, none of which has threads of its own to race\n"
          "0 passed, 0 failed")
    sys.exit(77)
