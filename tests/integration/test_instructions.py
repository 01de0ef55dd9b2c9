#!/usr/bin/env -S python3 -B
"""How many instructions counting a byte takes on AVX2.

Goal: notice when the loops over words get longer. Instructions are counted by valgrind, not timed:
the same on any machine and under any load. Two texts, of which one has the other as its first half,
are counted by the command; the difference is what counting costs, without starting and ending.

The text has the lengths and the frequencies of words that the English Bible has: 5.4 bytes a word,
few different ones. valgrind cannot run AVX-512, and not all that sanitizers put into a program."""
import bisect
import itertools
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

from harness import BUILD, Skip, WHORL, check, folder, main, test

INSTRUCTIONS_MAX = 13.0  # a byte
WORDS = 400_000
VALGRIND_SECONDS_MAX = 250


def cache_says(key):
    cache = BUILD / "CMakeCache.txt"
    match = re.search(key + r":\w+=(.*)", cache.read_text(encoding="utf-8"))
    return match.group(1).strip() if match else ""


def must_be_able():
    if not shutil.which("valgrind"):
        raise Skip("valgrind is missing")
    if os.uname().machine != "x86_64":
        raise Skip("no AVX2 on " + os.uname().machine)
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    for flag in ("avx2", "aes", "bmi2"):
        if not re.search(r"^flags\b.*\b%s\b" % flag, flags, re.MULTILINE):
            raise Skip("this processor has no " + flag)
    if cache_says("WHORL_SANITIZE"):
        raise Skip("sanitizers add instructions of their own")
    if "-O3" not in cache_says("CMAKE_C_FLAGS_RELWITHDEBINFO") or \
            cache_says("CMAKE_BUILD_TYPE") != "RelWithDebInfo":
        raise Skip("only the release build is held to this")


def english(words):
    """Text as long as `words` words, always the same."""
    random_ = random.Random(1)
    vocabulary = []
    for rank in range(12_000):
        # Frequent words are short.
        longest = 3 if rank < 30 else 5 if rank < 300 else 9
        length = min(1 + int(random_.gammavariate(4, longest / 6)), 14)
        word = "".join(random_.choice("etaoinshrdlucmfw") for _ in range(length))
        vocabulary.append(word.capitalize() if rank % 11 == 0 else word)
    sums = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(vocabulary))))
    out = []
    for index in range(words):
        word = vocabulary[bisect.bisect_left(sums, random_.random() * sums[-1])]
        out.append(word + ("\n" if index % 13 == 12 else "," if index % 17 == 0 else ""))
    return " ".join(out).encode()


def instructions(path):
    """Of counting the file, as valgrind tells at the end."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", WHORL, "wordcount",
               "--backend", "epoll", "--workers", "1", "--isa", "avx2", str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=VALGRIND_SECONDS_MAX,
                          check=False)
    match = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not match:
        raise AssertionError("valgrind: " + done.stderr)
    return int(match.group(1))


@test
def counting_on_avx2_takes_at_most_13_instructions_a_byte():
    must_be_able()
    with folder() as path:
        text = english(WORDS)
        (path / "whole").write_bytes(text)
        (path / "half").write_bytes(text[:len(text) // 2])
        more = instructions(path / "whole") - instructions(path / "half")
    each = more / (len(text) - len(text) // 2)
    print("%.2f bytes a word, %.3f instructions a byte" % (len(text) / WORDS, each))
    check(each <= INSTRUCTIONS_MAX, "%.3f instructions a byte" % each)
    check(each > 1, "that cannot be: %.3f instructions a byte" % each)


if __name__ == "__main__":
    main()
