#!/usr/bin/env -S python3 -B
"""whorl wordcount of compressed files against an independent count of what they were made from:
every format, put together in every way, and damaged in every way."""
import bz2
import functools
import gzip
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import time
import zlib

from harness import (SLOW, Skip, check, equal, folder, main, run, sanitizers, says, test,
                     test_without_threads)
from words import rows_of

SEED = next((int(word[7:]) for word in sys.argv if word.startswith("--seed=")), int(time.time()))
sys.argv = [word for word in sys.argv if not word.startswith("--seed=")]

def filtered(program, *arguments):
    def pack(data):
        if not shutil.which(program):
            raise Skip("there is no program %s" % program)
        return subprocess.run([program, "-q", "-c", *arguments], input=data, check=True,
                              stdout=subprocess.PIPE).stdout
    return pack


def bgzip(data):
    """Blocks that say how long they are, as bgzip writes them."""
    out = []
    for at in range(0, len(data), 60000):
        part = data[at:at + 60000]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(part) + packer.flush()
        size = 18 + len(body) + 8
        out += [b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0", struct.pack("<H", size - 1), body,
                struct.pack("<II", zlib.crc32(part), len(part))]
    return b"".join(out)


PACKERS = {
    "gzip": gzip.compress,
    "bgzip": bgzip,
    "zstd": filtered("zstd", "--no-check"),
    "zstd with a checksum": filtered("zstd", "--check", "-3"),
    "lz4": filtered("lz4"),
    "lz4, small blocks with checksums": filtered("lz4", "-B4", "-BX", "--content-size"),
}


def text_of(random_, size):
    vocabulary = [bytes(random_.choices(b"abcdefgXYZ.,\xc3\xa9", k=random_.randint(1, 20)))
                  for _ in range(3000)]
    words = random_.choices(vocabulary, k=size // 10)
    return b" ".join(words)[:size] + b"\n"


def count(*arguments, **options):
    return run("wordcount", *arguments, text=False, **options)


@functools.lru_cache(maxsize=4)
def rows_once(text):
    return rows_of(text)


def counts(data, expected, *arguments):
    """The rows of a file with `data`, and of the same on a pipe, are those of `expected`."""
    with folder() as path:
        (path / "file").write_bytes(data)
        for done in (count(*arguments, path / "file"),
                     count(*arguments, "-", input=data, stdin=None)):
            equal(done.returncode, 0, done.stderr)
            check(done.stdout == rows_once(expected), "wrong rows, seed", SEED, done.stdout[:200])


def each_packer(*names):
    for name in names or PACKERS:
        try:
            yield name, PACKERS[name]
        except Skip as skip:
            print("without", name, skip)


@test
def every_format_is_decompressed():
    random_ = random.Random(SEED)
    print("seed", SEED)
    for size in (0, 1, 100, 70000, 3000000 // SLOW):
        text = text_of(random_, size)
        for name, pack in each_packer():
            counts(pack(text), text)


@test
def frames_put_together_are_read_to_the_last():
    random_ = random.Random(SEED)
    sizes = (1, 50, 5000, 300000 // SLOW)
    parts = [text_of(random_, random_.choice(sizes))[:-1] for _ in range(24)]
    text = b"".join(parts)
    for name, pack in each_packer():
        packed = b"".join(pack(part) for part in parts)
        # Small splits, so that words lie across several of them.
        for split in ((), ("--workers", "3")):
            counts(packed, text, *split)
    mixed = b"".join(random_.choice(list(PACKERS.values()))(part) for part in parts)
    counts(mixed, text)


@test
def large_files_of_many_frames_are_shared_out():
    random_ = random.Random(SEED)
    table = bytes(b" abcdefg"[i % 8] for i in range(256))
    parts = [random_.randbytes(250000 // SLOW).translate(table) for _ in range(12)]
    text = b"".join(parts)
    for name, pack in each_packer():
        packed = b"".join(pack(part) for part in parts)
        counts(packed, text)
        counts(packed, text, "--workers", "1")


@test_without_threads
def frames_to_be_skipped_are_skipped():
    def skipped(data):
        return struct.pack("<II", 0x184d2a50 + len(data) % 16, len(data)) + data
    text = b"one two two"
    for name, pack in each_packer():
        counts(skipped(b"head") + pack(text) + skipped(b"") + skipped(b"x" * 100000), text)


@test_without_threads
def zero_bytes_at_the_end_are_padding():
    for name, pack in each_packer():
        counts(pack(b"a b a") + b"\0" * 1000, b"a b a")


@test_without_threads
def trailing_garbage_is_named_and_what_came_before_counted():
    with folder() as path:
        for name, pack in each_packer():
            packed = pack(b"a b a")
            for garbage in (b"x", b"\0\0x", b"this is no frame", b"\x1f\x8b\x07\0" * 9):
                (path / "file").write_bytes(packed + garbage)
                done = run("wordcount", path / "file")
                says(done, 1, "what follows the .* data from byte \\d+ on is not compressed")
                equal(done.stdout, "a\t2\nb\t1\n", name)
                done = run("wordcount", "-", input=(packed + garbage), stdin=None, text=False)
                equal(done.returncode, 1)
                check(b"cannot read standard input: what follows" in done.stderr, done.stderr)


@test_without_threads
def a_file_cut_off_anywhere_is_named_with_where_it_ends():
    words = b" ".join(b"%d" % (i * 7919 % 1000) for i in range(60))
    with folder() as path:
        for name, pack in each_packer():
            packed = pack(words)
            # Of fewer than four bytes nobody can say what they are.
            lengths = range(4, len(packed))
            for length in lengths:
                (path / ("%06d" % length)).write_bytes(packed[:length])
            done = run("wordcount", path)
            lines = done.stderr.splitlines()
            equal(done.returncode, 1, name)
            for length in lengths:
                named = [line for line in lines if "/%06d:" % length in line]
                equal(len(named), 1, name, length, lines[:3], "complaints")
                check("end too early, at byte %d;" % length in named[0], name, named)
                (path / ("%06d" % length)).unlink()


@test_without_threads
def a_flipped_bit_is_found_or_changes_nothing_that_counts():
    random_ = random.Random(SEED)
    text = b" ".join(b"%d" % random_.randint(0, 99) for _ in range(40))
    # Formats without a checksum cannot tell all.
    for name, pack in each_packer("gzip", "zstd with a checksum",
                                  "lz4, small blocks with checksums"):
        packed = pack(text)
        with folder() as path:
            for at in range(4, len(packed)):
                flipped = bytearray(packed)
                flipped[at] ^= 1 << random_.randint(0, 7)
                (path / ("%06d" % at)).write_bytes(bytes(flipped))
            # What a flipped bit makes of text need not be UTF-8.
            done = run("wordcount", path, errors="replace")
            found = done.stderr.count("cannot read")
            check(done.returncode in (0, 1), done.returncode, done.stderr)
            # What the header says of time, system and name may be anything.
            check(found >= len(packed) - 4 - 40, name, found, "of", len(packed) - 4)


@test
def random_damage_never_crashes():
    random_ = random.Random(SEED)
    print("seed", SEED)
    text = text_of(random_, 200000)
    with folder() as path:
        for name, pack in each_packer():
            packed = pack(text)
            for i in range(20):
                bad = bytearray(packed)
                for _ in range(random_.randint(1, 5)):
                    at = random_.randrange(len(bad))
                    bad[at:at + random_.randint(0, 9)] = random_.randbytes(random_.randint(0, 9))
                (path / ("%s %d" % (name, i))).write_bytes(bytes(bad))
        done = run("wordcount", path, errors="replace")
        check(done.returncode in (0, 1), done.returncode, done.stderr[-2000:])


@test_without_threads
def a_damaged_file_leaves_the_others_and_counts_as_failed():
    with folder() as path:
        (path / "good").write_bytes(gzip.compress(b"a b"))
        (path / "plain").write_bytes(b"a c")
        bad = bytearray(gzip.compress(b"a d " * 100))
        bad[-6] ^= 0xff
        (path / "bad").write_bytes(bytes(bad))
        done = run("wordcount", "--json", path)
        says(done, 1, "/bad: the gzip data are damaged at byte \\d+; what came before")
        check('"files_failed":1' in done.stdout, done.stdout)
        check('{"word":"d","count":100}' in done.stdout, done.stdout)


@test_without_threads
def a_bomb_takes_no_memory():
    bomb = gzip.compress(b"\0" * 300000000, 9)
    packed = b"".join([bomb] * 2)
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    options = {} if sanitizers() else {"preexec_fn": limited}
    with folder() as path:
        (path / "bomb").write_bytes(packed)
        done = run("wordcount", path / "bomb", **options)
        equal((done.returncode, done.stdout), (0, ""), done.stderr)


@test_without_threads
def a_bomb_of_one_word_is_refused():
    with folder() as path:
        (path / "bomb").write_bytes(gzip.compress(b"a b " + b"x" * 150000000))
        (path / "good").write_bytes(b"a")
        for arguments in ((path,), (path / "good", path / "bomb")):
            done = run("wordcount", *arguments)
            says(done, 1, "hold a word longer than 64 MiB")
            equal(done.stdout, "a\t2\nb\t1\n")


@test_without_threads
def a_window_that_is_too_long_is_refused():
    if not shutil.which("zstd"):
        raise Skip("there is no program zstd")
    head = b"(\xb5/\xfd" + b"\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00"
    with folder() as path:
        (path / "file").write_bytes(head)
        says(run("wordcount", path / "file"), 1, "takes more than 128 MiB")


@test_without_threads
def it_can_be_turned_off():
    packed = gzip.compress(b"a b a")
    with folder() as path:
        (path / "file").write_bytes(packed)
        done = count("--no-decompress", path / "file")
        equal(done.returncode, 0)
        check(done.stdout == rows_of(packed), done.stdout)


@test_without_threads
def other_formats_are_bytes():
    packed = bz2.compress(b"a b a")
    counts(packed, packed)


@test_without_threads
def names_may_be_any_bytes():
    with folder() as path:
        name = os.fsencode(path) + b"/\xff\n \x01.txt"
        with open(name, "wb") as file:
            file.write(gzip.compress(b"x x"))
        done = count(path)
        equal((done.returncode, done.stdout), (0, b"x\t2\n"), done.stderr)


@test
def a_mixed_folder_is_counted():
    random_ = random.Random(SEED)
    texts = []
    with folder() as path:
        for i in range(60):
            text = text_of(random_, random_.choice((0, 10, 3000, 90000)))
            where = path / str(i % 7)
            where.mkdir(exist_ok=True)
            pack = random_.choice(list(PACKERS.values()) + [bytes] * 6)
            (where / str(i)).write_bytes(pack(text))
            texts.append(text)
        done = count("--stats", path)
        equal(done.returncode, 0, done.stderr)
        check(done.stdout == rows_of(*texts), "wrong rows, seed", SEED)
        check(b"were decompressed" in done.stderr, done.stderr)


main()
