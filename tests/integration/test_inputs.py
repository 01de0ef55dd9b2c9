#!/usr/bin/env -S python3 -B
"""What whorl wordcount does with inputs that are no ordinary files, or too many, or too deep: they
are counted, left out by rule, or named with what is wrong; and it never hangs."""
import os
import random
import resource
import socket
import subprocess
import time

from harness import WHORL, check, equal, folder, main, run, says, test, under_tsan
from words import rows_of


def count(*arguments, **options):
    return run("wordcount", *arguments, text=False, **options)


@test
def a_hundred_thousand_files_in_one_folder_are_counted():
    files = 10000 if under_tsan() else 100000
    with folder() as path:
        (path / "0").write_bytes(b"one word more")
        # Names are what there are many of: a file may have 65,000.
        for number in range(1, files):
            if number % 50000 == 0:
                (path / str(number)).write_bytes(b"one word more")
            else:
                os.link(path / str(number - number % 50000), path / str(number))
        done = count("--stats", path)
        equal(done.returncode, 0, done.stderr)
        equal(done.stdout, b"more\t%d\none\t%d\nword\t%d\n" % (files, files, files))
        check(b"in %d files" % files in done.stderr, done.stderr)


@test
def folders_deeper_than_a_path_may_be_are_named_and_the_rest_counted():
    with folder() as path:
        name, levels = "d" * 200, 25
        here = os.open(path, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir(name, dir_fd=here)
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            with os.fdopen(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below), "wb") as file:
                file.write(b"word")
            os.close(here)
            here = below
        os.close(here)
        done = count(path)
        says(subprocess.CompletedProcess([], done.returncode, "", done.stderr.decode()), 1,
             "d/dddd.*: File name too long")
        got = int(done.stdout.split(b"\t")[1])
        equal(got, (4096 - len(os.fsencode(path)) - 6) // 201, "files that can be reached")
        # From further down the others can be reached too.
        inner = os.path.join(path, *[name] * 15)
        done = count(".", cwd=inner)
        equal((done.returncode, done.stdout), (0, b"word\t%d\n" % (levels - 14)), done.stderr)
        # Nor can it be removed by its path.
        subprocess.run(["rm", "-rf", name], cwd=path, check=True)


@test
def sockets_are_left_out_of_folders_and_named_by_name():
    with folder() as path:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path / "socket"))
            (path / "file").write_bytes(b"word")
            done = count(path)
            equal((done.returncode, done.stdout, done.stderr), (0, b"word\t1\n", b""))
            done = count(path / "socket", path / "file")
            equal((done.returncode, done.stdout), (1, b"word\t1\n"))
            check(b"/socket: No such device or address" in done.stderr, done.stderr)


@test
def a_read_that_fails_is_named_and_the_rest_counted():
    with folder() as path:
        (path / "file").write_bytes(b"word")
        # Its first page is not mapped.
        done = count("/proc/self/mem", path / "file")
        equal((done.returncode, done.stdout), (1, b"word\t1\n"))
        check(b"/proc/self/mem: Input/output error" in done.stderr, done.stderr)


@test
def holes_are_zero_bytes_which_separate():
    with folder() as path:
        size = 300 << 20
        with open(path / "sparse", "wb") as file:
            file.write(b"first")
            file.seek(size // 2)
            file.write(b"in the middle")
            file.seek(size - 4)
            file.write(b"last")
        for options in ((), ("--direct",)):
            done = count(*options, path / "sparse")
            equal((done.returncode, done.stdout),
                  (0, b"first\t1\nin\t1\nlast\t1\nmiddle\t1\nthe\t1\n"), options, done.stderr)
        os.truncate(path / "sparse", 0)
        equal(count(path / "sparse").stdout, b"")


@test
def named_pipes_are_read_by_name_and_left_out_of_folders():
    with folder() as path:
        os.mkfifo(path / "pipe")
        equal(count(path).stdout, b"")
        process = subprocess.Popen([WHORL, "wordcount", str(path / "pipe")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with open(path / "pipe", "wb") as pipe:
            pipe.write(b"a b a" + b" c" * 100000)
        out, err = process.communicate(timeout=30)
        equal((process.returncode, out), (0, b"c\t100000\na\t2\nb\t1\n"), err)


@test
def a_socket_as_standard_input_is_counted():
    text = random.Random(1).randbytes(1 << 20)
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([WHORL, "wordcount", "-"], stdin=theirs, stdout=subprocess.PIPE)
    theirs.close()
    with ours:
        ours.sendall(text)
    equal(process.communicate(timeout=30)[0] == rows_of(text), True)


@test
def a_closed_standard_input_is_named():
    done = subprocess.run(["sh", "-c", 'exec "$0" wordcount - <&-', WHORL], check=False,
                          capture_output=True, timeout=30)
    equal((done.returncode, done.stdout), (1, b""))
    check(b"cannot read standard input: Bad file descriptor" in done.stderr, done.stderr)


@test
def a_closed_standard_output_is_named():
    with folder() as path:
        (path / "file").write_bytes(b"word")
        done = subprocess.run(["sh", "-c", 'exec "$0" wordcount "$1" >&-', WHORL, path / "file"],
                              check=False, capture_output=True, timeout=30)
        equal(done.returncode, 1, done.stderr)
        check(b"cannot write the output: Bad file descriptor" in done.stderr, done.stderr)


@test
def few_descriptors_are_enough_for_many_files():
    with folder() as path:
        for number in range(500):
            (path / str(number)).write_bytes(b"word " * 20)
        def limited():
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        done = count(path, *[path / str(number) for number in range(500)], preexec_fn=limited)
        equal((done.returncode, done.stdout), (0, b"word\t20000\n"), done.stderr)


@test
def a_file_replaced_again_and_again_is_named_or_counted_right():
    """What is counted is of whole parts of one of the files: so no word of both."""
    with folder() as path:
        texts = [b"aaaa " * 2000000, b"bbbb " * 2000000]
        for number, text in enumerate(texts):
            (path / str(number)).write_bytes(text)
        os.link(path / "0", path / "file")
        process = subprocess.Popen([WHORL, "wordcount", "--workers", "2"] +
                                   [str(path / "file")] * 20, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        number = 0
        while process.poll() is None:
            number += 1
            os.link(path / str(number % 2), path / "next")
            os.rename(path / "next", path / "file")
            time.sleep(0.001)
        out, err = process.communicate()
        check(process.returncode in (0, 1), process.returncode, err)
        for line in out.splitlines():
            check(line.split(b"\t")[0] in (b"aaaa", b"bbbb"), line)
        equal(process.returncode, 1 if err else 0)
        check(not err or b"it became shorter, or changed, while it was read" in err, err)


main()
