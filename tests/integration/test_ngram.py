#!/usr/bin/env -S python3 -B
"""whorl ngram against an independent count of the same lines, against what the generator of ngram
files says must come out, and on files that are not as one would wish. The random files are made
from a seed, which --seed=N gives back."""
import collections
import gzip
import json
import pathlib
import random
import subprocess
import sys
import time

from harness import (BUILD, SLOW, Skip, check, equal, folder, main, run, test,
                     test_without_threads, under_tsan)

SEED = next((int(word[7:]) for word in sys.argv if word.startswith("--seed=")), int(time.time()))
sys.argv = [word for word in sys.argv if not word.startswith("--seed=")]
GENERATOR = BUILD / "bench/ngram_gen"
VERSIONS = (2009, 2012, 2020)


def entries_of(line):
    """(ngram, year, match count) of each count in a line."""
    ngram, *fields = line.split(b"\t")
    if b"," in fields[0]:
        for field in fields:
            year, matches, _ = field.split(b",")
            yield ngram, year, int(matches)
    else:
        yield ngram, fields[0], int(fields[1])


def rows_of(data, by="ngram"):
    sums = collections.Counter()
    for line in data.split(b"\n"):
        for ngram, year, matches in entries_of(line) if line else ():
            key = {"ngram": ngram, "year": b"%d" % int(year), "both": ngram + b"\t" + year}[by]
            sums[key] += matches
    rows = sorted(sums.items(), key=lambda row: (-row[1], row[0]))
    return b"".join(b"%s\t%d\n" % row for row in rows)


def count(*arguments, **options):
    """Runs it; what would be told of its progress after some seconds is left out."""
    return run("ngram", "--progress", "none", *arguments, text=False, **options)


def says(done, status, *parts):
    equal(done.returncode, status, done.stderr)
    for part in (b"whorl: ngram: ", *parts):
        check(part in done.stderr, part, "is not in", done.stderr)


def write(path, data):
    path.write_bytes(data)
    return path


def random_line(random_, version, vocabulary):
    word = vocabulary[min(int(random_.paretovariate(0.7)), len(vocabulary)) - 1]

    def number():
        return random_.getrandbits(random_.choice((1, 4, 8, 20, 30, 36)))

    def entry(separator, others):
        numbers = [random_.randrange(1500, 2020), number(), *(number() for _ in range(others))]
        return separator.join(b"%d" % each for each in numbers)

    if version == 2020:
        return b"\t".join([word] + [entry(b",", 1) for _ in range(random_.randrange(1, 9))])
    return word + b"\t" + entry(b"\t", 2 if version == 2009 else 1)


def random_file(random_, version, lines, in_order=False):
    vocabulary = [bytes(random_.choice(b"abcXYZ ,.'\x80\xc3\xa9")
                        for _ in range(min(int(random_.expovariate(0.1)) + 1, 300)))
                  for _ in range(3000)]
    out = [random_line(random_, version, vocabulary) for _ in range(lines)]
    return b"\n".join(sorted(out) if in_order else out) + b"\n"


def generate(*arguments):
    if not GENERATOR.exists():
        raise Skip("bench/ngram_gen is not built")
    return subprocess.run([str(GENERATOR), *map(str, arguments)], check=True,
                          stdout=subprocess.PIPE).stdout


@test_without_threads
def every_version_and_key_is_counted_as_by_the_oracle():
    random_ = random.Random(SEED)
    print("seed", SEED)
    with folder() as path:
        for version in VERSIONS:
            data = random_file(random_, version, 20000, version != 2012)
            file = write(path / "file", data)
            for by in ("ngram", "year", "both"):
                done = count("--by", by, file)
                equal(done.returncode, 0, done.stderr)
                equal(done.stderr, b"")
                equal(done.stdout == rows_of(data, by), True, version, by, "seed", SEED)


@test
def workers_instruction_sets_and_bypasses_change_nothing():
    random_ = random.Random(SEED)
    with folder() as path:
        data = random_file(random_, 2012, 60000 // SLOW)
        expected = rows_of(data)
        file = write(path / "file", data)
        for workers in (1, 2, 3, 7):
            equal(count("--workers", workers, file).stdout == expected, True, workers, "workers")
        for bypass in ("auto", "always", "never"):
            equal(count("--bypass", bypass, file).stdout == expected, True, bypass)
        for isa in ("scalar", "sse2", "avx2", "avx512", "neon"):
            done = count("--isa", isa, file)
            if done.returncode == 0:
                equal(done.stdout == expected, True, isa)
            else:
                check(done.stderr.startswith(b"whorl: "), isa, done.stderr)


@test
def the_generator_says_what_must_come_out():
    lines = ("--words", 300 if under_tsan() else 3000, "--seed", SEED % 1000)
    with folder() as path:
        for version in VERSIONS:
            for order in ("sorted", "shuffled"):
                range_ = ("--version", version, "--order", order, "--from", 777, "--to", 66666)
                data = generate(*lines, *range_)
                file = write(path / "file", data)
                done = count("--workers", 2, file)
                equal(done.returncode, 0, done.stderr)
                equal(done.stdout == generate(*lines, *range_, "--totals"), True, version, order)
                equal(count("--by", "year", file).stdout ==
                      generate(*lines, *range_, "--totals", "--by-year"), True, version, order)


@test_without_threads
def the_generator_agrees_with_the_oracle_and_itself():
    whole = generate("--words", 200, "--grams", 3)
    equal(generate("--words", 200, "--grams", 3, "--totals") == rows_of(whole), True)
    lines = whole.split(b"\n")[:-1]
    equal(lines, sorted(lines, key=lambda line: line.split(b"\t")[0]), "order")
    equal(len(lines), int(generate("--words", 200, "--lines")))
    cut = b"".join(generate("--words", 200, "--grams", 3, "--from", at, "--to", at + 1000)
                   for at in range(0, len(lines), 1000))
    equal(cut == whole, True, "the ranges are not the whole")
    shuffled = generate("--words", 200, "--grams", 3, "--order", "shuffled").split(b"\n")[:-1]
    check(shuffled != lines, "not shuffled")
    equal(sorted(shuffled), sorted(lines), "shuffled lines")


@test_without_threads
def a_bad_line_is_named_with_file_line_and_reason():
    good = b"a\t1987\t1\t1\n" * 100000
    with folder() as path:
        file = write(path / "bad.tsv", good + b"b\t1987\tx5\t1\n" + good)
        done = count(file)
        equal(done.returncode, 1)
        equal(done.stdout, b"")
        where = "%s: line 100001 (byte %d): the match count is not a number: " % (file, len(good))
        says(done, 1, where.encode(), rb'"b\t1987\tx5\t1"')
        done = count("--skip-bad", file)
        equal(done.returncode, 0, done.stderr)
        equal(done.stdout, b"a\t200000\n")
        check(b"1 bad line was left out" in done.stderr, done.stderr)
        check(where.encode() in done.stderr, done.stderr)
        # A pipe cannot be read again, nor can the line's number be told of what was packed.
        done = count("-", stdin=None, input=file.read_bytes())
        says(done, 1, b"standard input: the line at byte %d" % len(good))
        packed = write(path / "bad.gz", gzip.compress(file.read_bytes()))
        says(count(packed), 1, b"bad.gz: the line at byte %d" % len(good))


@test_without_threads
def crlf_and_empty_lines_are_bad():
    with folder() as path:
        file = write(path / "f", b"a\t1987\t1\t1\r\nb\t1987\t2\t1\r\n")
        says(count(file), 1, b"line 1 (byte 0): the line ends in a carriage return", rb"1\r")
        file.write_bytes(b"a\t1987\t1\t1\n\n")
        says(count(file), 1, b"line 2 (byte 11): the line is empty")


@test_without_threads
def versions_are_not_mixed_unless_one_is_chosen():
    with folder() as path:
        old = write(path / "old", b"a\t1987\t1\t1\t1\n")
        new = write(path / "new", b"a\t1987\t2\t1\n")
        done = count(old, new)
        says(done, 1, b"unlike others", b"/old", b"/new", b"2009", b"2012", b"at byte 0 of ")
        says(count("--skip-bad", old, new), 1, b"--version")
        equal(count("--skip-bad", "--version", 2012, old, new).stdout, b"a\t2\n")
        equal(count("--skip-bad", "--version", 2009, old, new).stdout, b"a\t1\n")
        says(count("--version", 2020, old), 1, b"line 1 (byte 0)")


@test_without_threads
def sums_beyond_64_bits_are_an_error():
    with folder() as path:
        file = write(path / "f", b"a\t1\t18446744073709551614\t1\na\t2\t1\t1\n")
        done = count(file)
        equal((done.returncode, done.stdout), (1, b""))
        says(done, 1, b"18446744073709551614")
        file.write_bytes(b"a\t1\t18446744073709551613\t1\na\t2\t1\t1\n")
        equal(count(file).stdout, b"a\t18446744073709551614\n")


@test
def sums_beyond_64_bits_are_an_error_wherever_they_meet():
    """Halves at both ends of a file: in splits and workers of their own, and, with little memory,
    on disk before they meet. With one less there is a result."""
    half = 9223372036854775807
    lines = b"".join(b"%08x-%d\t1987\t%d\t1\n" % (n * 2654435761 % (1 << 32), n, n % 9 + 1)
                     for n in range(150_000))
    with folder() as path:
        files = {}
        for name, other in (("much", half + 1), ("most", half)):
            data = b"a\t1987\t%d\t1\n%sa\t1988\t%d\t1\n" % (half, lines, other)
            files[name] = write(path / name, data)
        expected = rows_of(files["most"].read_bytes())
        for options in (("--workers", 3), ("--bypass", "always"), ("--bypass", "never"),
                        ("--memory", "2M", "--tmp", path),
                        ("--memory", "2M", "--tmp", path, "--bypass", "always")):
            done = count(*options, files["much"])
            equal((done.returncode, done.stdout), (1, b""), options)
            says(done, 1, b"18446744073709551614")
            equal(count(*options, files["most"]).stdout == expected, True, options)


@test
def a_small_memory_spills_and_changes_nothing():
    data = generate("--words", 2000 if under_tsan() else 60000, "--grams", 3, "--order",
                    "shuffled", "--to", 400000)
    with folder() as path:
        file = write(path / "f", data)
        done = count("--memory", "4M", "--tmp", path, file)
        equal(done.returncode, 0, done.stderr)
        equal(done.stdout == rows_of(data), True)


@test
def wide_sums_spill_too():
    """Numbers beyond what short records hold, on both sides of a spill."""
    random_ = random.Random(SEED)
    with folder() as path:
        lines = [b"w%d\t1987\t%d\t1" % (random_.randrange(40000), random_.getrandbits(45))
                 for _ in range(300000)]
        data = b"\n".join(lines) + b"\n"
        file = write(path / "f", data)
        expected = rows_of(data)
        equal(count(file).stdout == expected, True, "seed", SEED)
        equal(count("--memory", "2M", "--tmp", path, file).stdout == expected, True, "seed", SEED)


@test
def options_do_what_they_say():
    with folder() as path:
        file = write(path / "f", b"a\t1987\t3\t1\nb\t1988\t2\t1\nc d\t1987\t1\t1\n")
        equal(count("--top", 2, file).stdout, b"a\t3\nb\t2\n")
        equal(count("--min-count", 2, file).stdout, b"a\t3\nb\t2\n")
        answer = json.loads(count("--json", file).stdout)
        equal(answer["ngrams"][2], {"ngram": "c d", "count": 1})
        equal((answer["total"], answer["skipped"], answer["partial"]), (3, 0, False))
        equal(count("--format", "csv", "--by", "year", file).stdout,
              b"year,count\n1987,4\n1988,2\n")
        check(b"3 counts" in count("--stats", file).stderr)
        for wrong in (("--by", "word"), ("--version", "2011"), ("--bypass", "no"),
                      ("--format", "xml"), ("--isa", "mmx")):
            done = count(*wrong, file)
            equal((done.returncode, done.stdout), (2, b""), wrong)
        equal(count().returncode, 2)
        check(b"match_count" in count("--help").stdout)


@test
def what_cannot_be_read_is_named_and_the_rest_counted():
    with folder() as path:
        file = write(path / "f", b"a\t1987\t3\t1\n")
        done = count(path / "nothing", file)
        equal((done.returncode, done.stdout), (1, b"a\t3\n"))
        says(done, 1, b"nothing")


main()
