#!/usr/bin/env -S python3 -B
"""What words are and how their counts are printed: --words, --keep-case, --unicode, --min-count
and --format of whorl wordcount, against independent counts, with every instruction set. The random
texts are made from a seed, which --seed=N gives back."""
import collections
import csv
import io
import json
import random
import re
import struct
import sys
import time

from harness import WHORL, check, equal, folder, main, run, says, test

SEED = next((int(word[7:]) for word in sys.argv if word.startswith("--seed=")), int(time.time()))
sys.argv = [word for word in sys.argv if not word.startswith("--seed=")]

CLASSES = {
    "control": bytes(range(0x21, 256)),
    "posix-space": bytes(byte for byte in range(256) if byte not in b"\t\n\v\f\r "),
    "alpha": b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "alnum": b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "a-z0-9_'": b"abcdefghijklmnopqrstuvwxyz0123456789_'",
    "^,;\\n": bytes(byte for byte in range(256) if byte not in b",;\n"),
    "\\x00-\\x7f\\\\": bytes(range(0x80)),
    "\\x80-\\xff\\-\\^": bytes(range(0x80, 256)) + b"-^",
}
SPACES = "\x85\xa0\u1680\u2000\u2001\u2005\u200a\u2028\u2029\u202f\u205f\u3000"


def isas():
    """Those that this processor has."""
    names = ("avx512", "avx2", "sse2", "neon", "scalar")
    return [name for name in names
            if run("wordcount", "--isa", name, "/dev/null").returncode == 0]


def simple_fold(letter):
    folded = letter.casefold()
    if len(folded) > 1:
        folded = letter.lower()
    return folded if len(folded) == 1 else letter


def unicode_text(data, blank, keep_case):
    """Well-formed UTF-8 outside of ASCII folded, white space there as `blank`."""
    out = []
    for letter in data.decode("utf-8", "surrogateescape"):
        if letter < "\x80" or "\udc80" <= letter <= "\udcff":
            out.append(letter)
        elif letter in "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" or \
                "\u2000" <= letter <= "\u200a":
            out.append(blank)
        else:
            out.append(letter if keep_case else simple_fold(letter))
    return "".join(out).encode("utf-8", "surrogateescape")


def rows_of(data, words, keep_case=False, unicode=False):
    members = set(CLASSES[words])
    if not keep_case:
        letters = {byte | 32 for byte in members if chr(byte).isascii() and chr(byte).isalpha()}
        members |= letters | {byte - 32 for byte in letters}
    if unicode:
        blank = next(byte for byte in (32, *range(256)) if byte not in members)
        data = unicode_text(data, chr(blank), keep_case)
    if not keep_case:
        data = data.lower()
    text = bytes(byte if byte in members else 1 for byte in data)
    # A byte that is in no word separates; 1 may be in one, so split by hand.
    found, start = [], None
    for at, byte in enumerate(data):
        if byte in members and start is None:
            start = at
        elif byte not in members and start is not None:
            found.append(text[start:at])
            start = None
    if start is not None:
        found.append(text[start:])
    counts = collections.Counter(found)
    return sorted(counts.items(), key=lambda row: (-row[1], row[0]))


def tsv(rows):
    return b"".join(b"%s\t%d\n" % row for row in rows)


def count(data, *arguments):
    with folder() as path:
        file = path / "text"
        file.write_bytes(data)
        done = run("wordcount", *arguments, file, text=False)
    equal(done.returncode, 0, done.stderr)
    return done.stdout


def random_text(random_, size):
    pieces = [b"Word", b"word", b"WORD", b"\0", b"a\0b", b"\x01", b"_'", b"x" * 17, b"Y" * 40,
              b"0123456789abcdef", b"0123456789abcde\0", "ÉCOLE".encode(), "école".encode(),
              "ſtraße".encode(), "STRASSE".encode(), "\u212aelvin".encode(), "Ⱥ".encode() * 9,
              "ΣΊΣΥΦΟΣ".encode(), "\U00010400x".encode(), b"\xff\xc3", b"\xe2\x80", b"\xed\xa0\x80",
              b"-^,;", *(space.encode() for space in SPACES), *(bytes([b]) for b in range(256))]
    separators = [b" ", b"\n", b"\t", b",", b"\0", b"", b" \r\n", b"\xc2\xa0"]
    out = bytearray()
    while len(out) < size:
        out += random_.choice(pieces) + random_.choice(separators)
    return bytes(out)


@test
def classes_and_case_agree_with_an_independent_count_on_every_instruction_set():
    random_ = random.Random(SEED)
    print("seed", SEED)
    texts = [random_text(random_, size) for size in (10, 300, 40000)]
    for words in CLASSES:
        for keep_case in (False, True):
            options = ["--words", words] + ["--keep-case"] * keep_case
            expected = [tsv(rows_of(text, words, keep_case)) for text in texts]
            for isa in isas():
                for text, rows in zip(texts, expected):
                    check(count(text, *options, "--isa", isa) == rows,
                          "wrong rows", options, isa, len(text), "seed", SEED)


@test
def unicode_agrees_with_an_independent_count():
    random_ = random.Random(SEED + 1)
    print("seed", SEED)
    for size in (10, 3000, 60000):
        text = random_text(random_, size)
        for words in ("control", "alnum", "^,;\\n", "posix-space"):
            for keep_case in (False, True):
                options = ["--unicode", "--words", words] + ["--keep-case"] * keep_case
                check(count(text, *options) == tsv(rows_of(text, words, keep_case, True)),
                      "wrong rows", options, size, "seed", SEED)


@test
def every_letter_that_unicode_folds_is_folded():
    letters = [chr(code) for code in range(0x80, 0x20000) if not 0xd800 <= code < 0xe000]
    text = "\n".join(letters).encode()
    check(count(text, "--unicode") == tsv(rows_of(text, "control", unicode=True)), "wrong folding")


@test
def white_space_of_unicode_separates_only_when_asked():
    text = "café naïve x\xa0y A\tB".encode()
    equal(count(text), tsv([(b"a", 1), (b"b", 1), ("café".encode(), 1), ("naïve".encode(), 1),
                            ("x\xa0y".encode(), 1)]))
    equal(count(text, "--unicode"),
          tsv([(b"a", 1), (b"b", 1), ("café".encode(), 1), ("naïve".encode(), 1), (b"x", 1),
               (b"y", 1)]))


@test
def text_without_ascii_space_is_divided_by_unicode():
    text = "\u3000".join("日本語%d" % (i % 7) for i in range(20000)).encode()
    check(count(text, "--unicode") == tsv(rows_of(text, "control", unicode=True)), "wrong rows")


@test
def letters_that_grow_when_folded_fit():
    text = ("Ⱥ" * 30000 + " " + "Ⱥ" * 5000).encode()
    equal(count(text, "--unicode"), tsv([(("ⱥ" * 30000).encode(), 1), (("ⱥ" * 5000).encode(), 1)]
                                        if "ⱥ" * 30000 < "ⱥ" * 5000 else
                                        [(("ⱥ" * 5000).encode(), 1), (("ⱥ" * 30000).encode(), 1)]))


@test
def a_minimum_is_a_filter_and_changes_no_total():
    text = b"a a a b b c"
    equal(count(text, "--min-count", "2"), b"a\t3\nb\t2\n")
    equal(count(text, "--min-count", "4"), b"")
    found = json.loads(count(text, "--min-count", "2", "--format", "json"))
    equal((len(found["words"]), found["different"], found["total"]), (2, 3, 6))


@test
def csv_is_read_back_by_another_reader():
    text = b'plain with,comma with"quote "" ,'
    rows = list(csv.reader(io.StringIO(count(text, "--format", "csv").decode())))
    equal(rows[0], ["word", "count"])
    equal([(word.encode(), int(number)) for word, number in rows[1:]], rows_of(text, "control"))
    line = b"two\nlines,two\nlines"
    rows = list(csv.reader(io.StringIO(count(line, "--words", "^,", "--format", "csv").decode())))
    equal(rows[1:], [["two\nlines", "2"]])


@test
def json_by_format_and_by_its_old_name_are_the_same():
    text = random_text(random.Random(SEED), 5000)
    equal(count(text, "--format", "json"), count(text, "--json"))
    found = json.loads(count(text, "--json"))
    equal([(row["word"].encode("utf-8", "surrogateescape"), row["count"])
           for row in found["words"]], rows_of(text, "control"))


@test
def binary_is_whole_and_exact():
    text = random_text(random.Random(SEED), 5000)
    data = io.BytesIO(count(text, "--format", "binary", "--words", "posix-space"))
    equal(data.read(8), b"whorlrow")
    rows = []
    while True:
        length, number = struct.unpack("<QQ", data.read(16))
        if length == 0:
            break
        rows.append((data.read(length), number))
    equal(number, len(rows))
    equal(data.read(), b"")
    equal(rows, rows_of(text, "posix-space"))


@test
def wrong_words_and_formats_are_named_with_the_cure():
    for words in ("", "^", "\\", "\\q", "\\x4", "z-a", "\\x00-\\xff", "^\\x00-\\xff"):
        says(run("wordcount", "--words", words, "-"), 2, "--words is control")
    says(run("wordcount", "--format", "xml", "-"), 2, "tsv, csv, json or binary, not 'xml'")


main()
