#!/usr/bin/env -S python3 -B
"""The command on a disk that is broken in the middle of a file: the file is named with the error of
the read, what came before that counts, and so do other files, however they are read."""
import gzip
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from harness import WHORL, check, equal, folder, main, run, test  # noqa: E402
from support.broken_disk import broken_disk  # noqa: E402

WORDS = 1 << 18
WORD_BYTES = 12
READ_MAX = 1 << 20  # of one read, all of which is lost with a part of it


def words(count):
    return b"".join(b"word%07d\n" % number for number in range(count))


def in_frames(text):
    """As bgzip does it: each frame says how long it is, so that they can be shared out."""
    out = []
    for at in range(0, len(text), 1 << 16):
        frame = bytearray(gzip.compress(text[at:at + (1 << 16)], 1))
        size = len(frame) + 8
        frame[3] = 4
        frame[10:10] = b"\6\0BC\2\0" + (size - 1).to_bytes(2, "little")
        out.append(bytes(frame))
    return b"".join(out)


def counted(rows):
    """How many words of the file there are: the first ones, each once, but for a last one that the
    end of a read may have cut."""
    found = sorted(line.split(b"\t") for line in rows.splitlines())
    equal(found.pop(0), [b"another", b"2"])
    whole = [word for word, _ in found if len(word) == WORD_BYTES - 1]
    check(len(found) - len(whole) <= 1, "more than one that is cut")
    equal([number for _, number in found], [b"1"] * len(found))
    equal(whole, words(len(whole)).split(), "words that are not the first ones")
    return len(whole)


def count_broken(data, broken, least, most, *options):
    """`data` cannot be read from `broken` on: so many words of it are counted."""
    with folder() as path:
        (path / "disk").mkdir()
        (path / "good").write_bytes(b"another another")
        with broken_disk(path / "disk", data, broken) as inside:
            for again in range(2):  # now some of it is in the page cache
                done = run(*inside[1:], WHORL, "wordcount", *options, path / "disk/file",
                           path / "good", program=inside[0], text=False)
                equal(done.returncode, 1, options, again, done.stderr)
                said = done.stderr.decode()
                check(re.search("disk/file: Input/output error", said), options, said)
                equal(said.count("disk/file"), 1, options, said)
                number = counted(done.stdout)
                check(least <= number <= most, options, again, "counted", number, "of", least, most)


WAYS = ((), ("--direct",), ("--processes", "2"), ("--workers", "1"))


@test
def a_file_that_breaks_off_is_named_and_what_was_read_counts():
    text, broken = words(WORDS), 12288 * 150
    for options in WAYS:
        count_broken(text, broken, (broken - READ_MAX) // WORD_BYTES, broken // WORD_BYTES,
                     *options)


@test
def a_file_that_cannot_be_read_at_all_is_named():
    for options in WAYS:
        count_broken(words(WORDS), 0, 0, 0, *options)


@test
def a_small_file_is_named():
    for options in WAYS:
        count_broken(words(1000), 4096, 0, 4096 // WORD_BYTES, *options)


@test
def compressed_files_that_break_off_are_named_by_the_error_of_the_read():
    for pack in (lambda text: gzip.compress(text, 1), in_frames):
        data = pack(words(WORDS))
        broken = len(data) // 2 // 4096 * 4096
        for options in WAYS:
            count_broken(data, broken, 1, WORDS // 2 + WORDS // 8, *options)


if __name__ == "__main__":
    main()
