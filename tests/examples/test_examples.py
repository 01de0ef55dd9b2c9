#!/usr/bin/env -S python3 -B
"""The examples against counts made here, the slow and obvious way."""
import collections
import hashlib
import os
import pathlib
import random
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from harness import BUILD, Skip, check, equal, folder, main, run, test

EXAMPLES = BUILD / "tests/examples"
WORDS = (b"whorl", b"Loop", b"loop", b"task", b"a", b"io_uring", b"completion-that-is-long",
         b"caf\xc3\xa9", b"\xff\xfe", b"x.")


def example(name, *arguments):
    program = EXAMPLES / name
    if not program.exists():
        raise Skip(f"{name} is not built: its library is missing")
    return run(*arguments, program=str(program), text=False)


def text(seed, lines):
    chance = random.Random(seed)
    return b"".join(b" ".join(chance.choices(WORDS, k=chance.randrange(9))) + b"\n"
                    for _ in range(lines))


def tree(path):
    """Files in folders, one of them empty and one without a last newline."""
    (path / "sub").mkdir()
    files = {path / "first": text(1, 900), path / "sub/second": text(2, 3000)[:-1],
             path / "sub/empty": b"", path / "third": text(3, 20)}
    for name, data in files.items():
        name.write_bytes(data)
    return files


def rows(counts, key):
    return b"".join(b"%s\t%d\n" % row for row in sorted(counts.items(), key=key))


def most_first(row):
    return -row[1], row[0]


def fold(data):
    return bytes(byte | 32 if 65 <= byte <= 90 else byte for byte in data)


@test
def wordcount_counts_words():
    with folder() as path:
        counts = collections.Counter()
        for data in tree(path).values():
            counts.update(fold(data).split())
        done = example("wordcount", path)
    equal(done.stdout, rows(counts, most_first))
    equal(done.returncode, 0, done.stderr)


@test
def ngram_totals_adds_up_by_ngram_year_and_both():
    chance = random.Random(4)
    lines = [(b"%s %s" % tuple(chance.choices(WORDS, k=2)), b"%d" % chance.randrange(1800, 2009),
              chance.choice((1, 7, 10**12, 2**32))) for _ in range(5000)]
    by = {"ngram": lambda ngram, year: ngram, "year": lambda ngram, year: year,
          "both": lambda ngram, year: ngram + b"\t" + year}
    with folder() as path:
        file = path / "ngrams"
        file.write_bytes(b"".join(b"%s\t%s\t%d\t1\n" % line for line in lines))
        for name, key in by.items():
            sums = collections.Counter()
            for ngram, year, matches in lines:
                sums[key(ngram, year)] += matches
            done = example("ngram_totals", name, file)
            equal(done.stdout, rows(sums, None), name)
            equal(done.returncode, 0, done.stderr)


@test
def ngram_totals_names_a_bad_line():
    good = b"a b\t1900\t12\t3\n"
    with folder() as path:
        file = path / "ngrams"
        file.write_bytes(good * 3 + b"a b\t1900\tmany\t3\n" + good)
        done = example("ngram_totals", "year", file)
    equal((done.returncode, done.stdout), (1, b""))
    check(b"at byte %d of %s" % (3 * len(good), os.fsencode(file)) in done.stderr, done.stderr)


@test
def inverted_index_lists_the_files_of_each_word():
    with folder() as path:
        index = collections.defaultdict(set)
        for name, data in tree(path).items():
            for word in fold(data).split():
                index[word].add(os.fsencode(name))
        done = example("inverted_index", path)
    equal(done.stdout, b"".join(b"%s\t%s\n" % (word, b" ".join(sorted(names)))
                                for word, names in sorted(index.items())))
    equal(done.returncode, 0, done.stderr)


@test
def grep_count_counts_lines_of_each_file():
    with folder() as path:
        counts = {os.fsencode(name): sum(b"loop" in line for line in data.split(b"\n"))
                  for name, data in tree(path).items()}
        done = example("grep_count", "loop", path)
        names_missing = example("grep_count", "loop", path / "nowhere", path)
    expected = rows({name: count for name, count in counts.items() if count}, most_first)
    equal(done.stdout, expected)
    equal(done.returncode, 0, done.stderr)
    equal((names_missing.returncode, names_missing.stdout), (1, expected))
    check(b"nowhere: No such file" in names_missing.stderr, names_missing.stderr)


@test
def log_status_shows_how_often_each_status_was():
    chance = random.Random(5)
    requests = (rb"GET / HTTP/1.1", rb"GET /\"200 HTTP/1.0", rb"\\", rb"")
    lines, counts = [], collections.Counter()
    for _ in range(2000):
        status = chance.choice((b"200", b"200", b"404", b"500", b"none"))
        tail = b"-" if status == b"none" else status + b" 512"
        lines.append(b'10.0.0.1 - - [01/Jan/2024:00:00:00 +0000] "%s" %s "ref" "agent 301"\n'
                     % (chance.choice(requests), tail))
        counts[status] += 1
    with folder() as path:
        (path / "log").write_bytes(b"".join(lines))
        done = example("log_status", path / "log")
    bars = re.findall(rb"^(\w+)\t(\d+)\t(#*)$", done.stdout, re.MULTILINE)
    equal({status: int(count) for status, count, _ in bars}, dict(counts))
    most = max(counts.values())
    equal([len(bar) for _, _, bar in bars], [int(int(count) / most * 50) for _, count, _ in bars])
    equal(done.returncode, 0, done.stderr)


@test
def hash_files_hashes_every_file():
    with folder() as path:
        files = tree(path)
        files[path / "large"] = bytes(range(256)) * 8192
        (path / "large").write_bytes(files[path / "large"])
        hashes = sorted((os.fsencode(name), hashlib.sha256(data).hexdigest().encode())
                        for name, data in files.items())
        done = example("hash_files", path)
        names_missing = example("hash_files", path / "third", path / "nowhere")
    equal(done.stdout, b"".join(b"%s  %s\n" % (digest, name) for name, digest in hashes))
    equal(done.returncode, 0, done.stderr)
    equal(names_missing.returncode, 1)
    check(names_missing.stdout.endswith(b"/third\n"), names_missing.stdout)


@test
def examples_say_how_they_are_used():
    for name in ("wordcount", "ngram_totals", "inverted_index", "grep_count", "log_status",
                 "hash_files"):
        if (EXAMPLES / name).exists():
            done = example(name)
            equal((done.returncode, done.stdout), (2, b""), name)
            check(done.stderr.startswith(b"usage: " + name.encode()), done.stderr)


main()
