#!/usr/bin/env -S python3 -B
"""whorl wordcount against independent counts of the same bytes, and on files that are not as one
would wish. The random texts are made from a seed, which --seed=N gives back."""
import json
import os
import pathlib
import pty
import random
import select
import signal
import subprocess
import sys
import time

from harness import (SLOW, WHORL, check, equal, folder, main, run, says, tell, test,
                     test_without_threads)
from words import rows_of, words_of

SEED = next((int(word[7:]) for word in sys.argv if word.startswith("--seed=")), int(time.time()))
sys.argv = [word for word in sys.argv if not word.startswith("--seed=")]

WORDS = 1000000 // SLOW


def count(*arguments, **options):
    """Runs it; what would be told of its progress after some seconds is left out."""
    return run("wordcount", "--progress", "none", *arguments, text=False, **options)


def counts(paths, *arguments, **options):
    """The output for `paths` is exactly that of an independent count."""
    done = count(*arguments, *paths, **options)
    equal(done.returncode, 0, done.stderr)
    equal(done.stderr, b"")
    expected = rows_of(*(pathlib.Path(path).read_bytes() for path in paths))
    check(done.stdout == expected, "wrong rows for", paths, "seed", SEED)


def write(path, data):
    path.write_bytes(data)
    return path


def random_text(random_, size):
    """Words of a Zipf-like distribution with every separator and many odd bytes."""
    vocabulary = [bytes(random_.choice(b"aAbBzZ09.,'\x80\xc3\xa9\xff!~\x7f")
                        for _ in range(min(int(random_.expovariate(0.2)) + 1, 200)))
                  for _ in range(5000)]
    separators = [bytes([byte]) for byte in range(33)] + [b" "] * 100 + [b"\n"] * 20 + [b"  \r\n"]
    out, length = [], 0
    while length < size:
        word = vocabulary[min(int(random_.paretovariate(0.7)), len(vocabulary)) - 1]
        out += (word, random_.choice(separators))
        length += len(word) + 1
    return b"".join(out)


@test_without_threads
def the_example_of_the_rule():
    with folder() as path:
        text = "caf\u00e9 na\u00efve x\u00a0y A\tB\0a".encode()
        done = count(write(path / "t", text))
        equal(done.stdout.decode(), "a\t2\nb\t1\ncaf\u00e9\t1\nna\u00efve\t1\nx\u00a0y\t1\n")


@test
def random_bytes_are_counted_exactly():
    random_ = random.Random(SEED)
    print("seed", SEED)
    with folder() as path:
        for size in (0, 1, 2, 15, 16, 17, 63, 64, 65, 1000, 100000, 3000000 // SLOW):
            counts([write(path / "text", random_text(random_, size))])
            counts([write(path / "noise", random_.randbytes(size))])


@test
def workers_and_instruction_sets_change_nothing():
    random_ = random.Random(SEED)
    with folder() as path:
        file = write(path / "text", random_text(random_, 5000000 // SLOW))
        expected = rows_of(file.read_bytes())
        for workers in (1, 2, 3, 7):
            equal(count("--workers", workers, file).stdout == expected, True, workers, "workers")
        for isa in ("scalar", "avx2", "avx512"):
            done = count("--isa", isa, file)
            if done.returncode == 0:
                equal(done.stdout == expected, True, isa)
            else:
                check(done.stderr.startswith(b"whorl: "), isa, done.stderr)


@test_without_threads
def tr_sort_and_uniq_agree():
    random_ = random.Random(SEED)
    with folder() as path:
        # Those tools know no zero byte, and count empty lines.
        text = random_text(random_, 1000000).replace(b"\0", b" ")
        file = write(path / "text", text)
        script = (r"tr 'A-Z' 'a-z' < $1 | tr '\001-\040' '[\n*32]' | grep -av '^$' | sort | "
                  r"uniq -c")
        done = subprocess.run(["sh", "-c", script, "sh", str(file)], check=True,
                              stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"})
        rows = [line.lstrip().split(b" ", 1) for line in done.stdout.split(b"\n") if line]
        rows.sort(key=lambda row: (-int(row[0]), row[1]))
        expected = b"".join(word + b"\t" + number + b"\n" for number, word in rows)
        equal(count(file).stdout == expected, True, "seed", SEED)


@test_without_threads
def words_across_every_border_are_whole():
    """Long runs around the sizes that splits, blocks and buffers are likely to have."""
    with folder() as path:
        for border in (64, 4096, 65536, 1 << 18, 1 << 20):
            for shift in (-2, -1, 0, 1, 2):
                pieces = [b"w" * (border + shift), b"x" * 40, b"y", b"z" * (border - shift)]
                counts([write(path / "text", b" ".join(pieces) + b"\n" + b"tail")])


@test_without_threads
def a_line_of_100_megabytes_is_one_word():
    with folder() as path:
        size = 100 << 20
        file = path / "long"
        with open(file, "wb") as out:
            for _ in range(size >> 20):
                out.write(b"Ab" * (1 << 19))
        done = count(file)
        equal(done.returncode, 0, done.stderr)
        equal(len(done.stdout), size + 3)
        check(done.stdout == b"ab" * (size // 2) + b"\t1\n", "the word is not the file")
        # And in the middle of others, with several workers.
        with open(file, "ab") as out:
            out.write(b" one two one")
        done = count("--workers", 4, file)
        equal(done.stdout[:12], b"one\t2\nababab")
        equal(done.stdout[-8:], b"b\t1\ntwo\t1\n"[-8:])


@test
def many_different_words_are_counted():
    with folder() as path:
        text = b"\n".join(b"%d" % (number * 2654435761 % (1 << 32)) for number in range(WORDS))
        done = count(write(path / "t", text + b"\n" + text[:1000000].rsplit(b"\n", 1)[0]))
        equal(done.returncode, 0, done.stderr)
        lines = done.stdout.split(b"\n")[:-1]
        equal(len(lines), WORDS)
        equal(sum(int(line.rsplit(b"\t", 1)[1]) for line in lines),
              WORDS + len(text[:1000000].rsplit(b"\n", 1)[0].split()))


@test
def workers_write_every_format_alike():
    words = [b"%d" % (number * 2654435761 % (1 << 32)) for number in range(60000)]
    with folder() as path:
        file = write(path / "t", b"\n".join(words + words[:20000] + [b'"', b"a,b", b"\xff"]))
        for form in ("tsv", "csv", "json", "binary"):
            one = count("--workers", 1, "--format", form, file)
            equal(one.returncode, 0, one.stderr)
            for workers in (2, 4):
                more = count("--workers", workers, "--format", form, file)
                equal(more.stdout == one.stdout, True, form, "of", workers, "workers")
            if form == "tsv":
                equal(one.stdout == rows_of(file.read_bytes()), True, "tsv")
            if form == "json":
                answer = json.loads(one.stdout.decode())
                equal([len(answer["words"]), answer["different"]], [60003, 60003])


# Where the bytes come from

@test_without_threads
def empty_files_have_no_words():
    with folder() as path:
        counts([write(path / "empty", b"")])
        counts([write(path / "blank", b" \n\t\0" * 1000)])
        done = count("--json", path / "empty")
        equal(json.loads(done.stdout)["total"], 0)
        counts(["/dev/null"])


@test
def several_files_are_one_count():
    with folder() as path:
        files = [write(path / f"file {i}", b"common word%d" % (i % 50)) for i in range(500)]
        counts(files)
        counts(files[:1] * 3)


@test
def processes_count_what_threads_do():
    random_ = random.Random(SEED)
    with folder() as path:
        texts = [random_text(random_, 200_000) for _ in range(3)]
        for number, text in enumerate(texts):
            write(path / str(number), text)
        done = count("--processes", 2, path)
        equal(done.returncode, 0, done.stderr)
        equal(done.stdout, rows_of(*texts))


@test
def directories_are_walked():
    with folder() as path:
        files = []
        for i in range(30):
            deep = path.joinpath(*(f"d{j}" for j in range(i % 5)), f"e{i}")
            deep.mkdir(parents=True)
            files += [write(deep / ".hidden", b"hidden"), write(deep / "plain", b"plain %d" % i)]
        os.symlink(path, path / "loop")
        os.symlink("nowhere", path / "dangling")
        os.mkfifo(path / "fifo")
        done = count(path, timeout=20)
        got = dict(line.split(b"\t") for line in done.stdout.split(b"\n") if line)
        equal((got[b"hidden"], got[b"plain"]), (b"30", b"30"), done.stderr)


@test
def standard_input_is_a_dash():
    random_ = random.Random(SEED)
    text = random_text(random_, 3000000)
    done = run("wordcount", "-", text=False, stdin=None, input=text)
    equal(done.returncode, 0, done.stderr)
    equal(done.stdout == rows_of(text), True, "from a pipe")
    with folder() as path:
        with open(write(path / "t", text), "rb") as file:
            equal(count("-", stdin=file).stdout == rows_of(text), True, "from a file")
        with open(path / "t", "rb") as file:
            done = count("-", path / "t", stdin=file)
            equal(done.stdout == rows_of(text, text), True, "from a file, and by name")


@test
def slow_pipes_are_waited_for():
    process = subprocess.Popen([WHORL, "wordcount", "-"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    for piece in (b"one tw", b"o three", b"", b" one", b" t", b"wo"):
        process.stdin.write(piece)
        process.stdin.flush()
        time.sleep(0.01)
    equal(process.communicate()[0], b"one\t2\ntwo\t2\nthree\t1\n")
    equal(process.returncode, 0)


# Files that cannot be read

def without_rights(path):
    """For preexec_fn: as somebody to whom permissions apply."""
    def apply():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
    os.chmod(path, 0o755)
    return apply


@test
def a_missing_file_is_named_and_the_rest_counted():
    with folder() as path:
        good = write(path / "good", b"good words")
        done = count(good, path / "missing", good)
        equal(done.returncode, 1)
        equal(done.stdout, b"good\t2\nwords\t2\n")
        check(str(path / "missing").encode() in done.stderr and b"No such file" in done.stderr,
              done.stderr)
        done = count(path / "missing")
        equal((done.returncode, done.stdout), (1, b""))


@test_without_threads
def unreadable_files_and_folders_are_named():
    with folder() as path:
        program = path / "whorl"
        program.write_bytes(pathlib.Path(WHORL).read_bytes())
        program.chmod(0o755)
        texts = path / "texts"
        texts.mkdir()
        write(texts / "good", b"good")
        write(texts / "secret", b"secret").chmod(0)
        (texts / "closed").mkdir()
        write(texts / "closed" / "inside", b"inside")
        (texts / "closed").chmod(0)
        done = count(texts, program=str(program), cwd="/", preexec_fn=without_rights(path))
        (texts / "closed").chmod(0o700)
        equal(done.returncode, 1, done.stderr)
        equal(done.stdout, b"good\t1\n")
        for name in (b"secret", b"closed"):
            check(any(name in line and b"Permission denied" in line
                      for line in done.stderr.splitlines()), name, done.stderr)


@test_without_threads
def names_of_any_bytes_can_be_given_and_are_told():
    with folder() as path:
        name = os.fsencode(path) + b"/\xff\n name"
        with open(name, "wb") as file:
            file.write(b"word")
        done = subprocess.run([os.fsencode(WHORL), b"wordcount", name, name + b"x"], check=False,
                              capture_output=True)
        equal((done.returncode, done.stdout), (1, b"word\t1\n"))
        check(b"\xff\n namex" in done.stderr or b"\\xff" in done.stderr, done.stderr)


@test_without_threads
def kernel_files_without_a_size_are_read():
    counts(["/proc/version"])


# Files that change

@test
def a_file_that_shrinks_or_grows_is_no_disaster():
    with folder() as path:
        file = write(path / "changing", b"word " * 4000000)
        for change in (lambda: os.truncate(file, 1000), lambda: os.truncate(file, 0),
                       lambda: write(file, b"word " * 5000000)):
            process = subprocess.Popen([WHORL, "wordcount", "--workers", "2", str(file)],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            change()
            out, err = process.communicate(timeout=30)
            check(process.returncode in (0, 1), process.returncode, err)
            for line in out.splitlines():
                check(b"word".startswith(line.split(b"\t")[0]), out)
            write(file, b"word " * 4000000)


@test
def a_file_being_written_is_counted_as_far_as_it_was():
    with folder() as path:
        file = path / "log"
        file.write_bytes(b"")
        writer = subprocess.Popen(["sh", "-c", 'while echo "a line of words"; do :; done >> "$0"',
                                   str(file)])
        try:
            while file.stat().st_size < 100000:
                pass
            for _ in range(5):
                done = count(file)
                equal(done.returncode, 0, done.stderr)
                got = dict(line.split(b"\t") for line in done.stdout.splitlines())
                check(int(got[b"a"]) > 0 and abs(int(got[b"a"]) - int(got[b"words"])) <= 1, got)
        finally:
            writer.kill()
            writer.wait()


# Options

@test_without_threads
def top_prints_the_first_rows_only():
    with folder() as path:
        file = write(path / "t", random_text(random.Random(SEED), 300000))
        rows = rows_of(file.read_bytes()).splitlines(keepends=True)
        for top in (1, 2, 20, 1000, 10000000):
            equal(count("--top", top, file).stdout == b"".join(rows[:top]), True, "top", top)


@test
def json_says_the_same():
    with folder() as path:
        file = write(path / "t", random_text(random.Random(SEED), 300000) + b' "q" \\b\\ a\x7fb')
        control = write(path / "control", b"a\x01b")
        answer = json.loads(count("--json", "--words", "posix-space", control).stdout.decode())
        equal(answer["words"], [{"word": "a\x01b", "count": 1}])
        out = count("--json", file).stdout
        answer = json.loads(out.decode())
        got = {row["word"].encode("utf-8", "surrogateescape"): row["count"]
               for row in answer["words"]}
        equal(got == dict(words_of(file.read_bytes())), True, "seed", SEED)
        equal(answer["total"], sum(got.values()))
        equal(answer["different"], len(got))
        equal(answer["bytes"], file.stat().st_size)
        equal((answer["files"], answer["files_failed"], answer["partial"]), (1, 0, False))


@test_without_threads
def wrong_usage_is_status_2():
    for arguments, words in (([], ("file",)), (["--top", "x", "f"], ("--top", "number")),
                             (["--top", "0", "f"], ("--top",)), (["--workers", "0", "f"],
                                                                 ("--workers",)),
                             (["--isa", "mmx", "f"], ("mmx|isa",)), (["--tpo", "1", "f"],
                                                                     ("--top",))):
        says(run("wordcount", *arguments), 2, *words)


@test_without_threads
def a_dash_dash_ends_the_options():
    with folder() as path:
        write(path / "--top", b"word")
        done = count("--", "--top", cwd=path)
        equal((done.returncode, done.stdout), (0, b"word\t1\n"), done.stderr)


# The end

@test
def output_that_cannot_be_written_is_status_1():
    with folder() as path:
        # The rows of it are more than a pipe holds.
        file = write(path / "t", b" ".join(b"%d" % number for number in range(200000)))
        for arguments in (["wordcount", file], ["wordcount", "--json", file]):
            with open("/dev/full", "w") as full:
                says(run(*arguments, stdout=full), 1, "write", "space")
            read, out = os.pipe()
            process = subprocess.Popen([WHORL, *map(str, arguments)], stdout=out,
                                       stderr=subprocess.PIPE, text=True)
            os.close(out)
            os.read(read, 10)
            os.close(read)
            err = process.communicate(timeout=30)[1]
            equal(process.returncode, 1, err)
            check("write" in err and "pipe" in err, err)


@test
def an_interrupt_in_the_middle_is_a_clean_message():
    for number in (signal.SIGINT, signal.SIGTERM):
        for partial in (False, True):
            arguments = ["--partial"] if partial else []
            process = subprocess.Popen([WHORL, "wordcount", *arguments, "-"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            # More than a pipe holds: so some of it has been read.
            process.stdin.write(b"some words " * 100000)
            process.stdin.flush()
            time.sleep(0.02)
            tell(process, number)
            process.wait(timeout=20)
            out, err = process.stdout.read(), process.stderr.read().decode()
            process.stdin.close()
            equal(process.returncode, 1, err)
            check("interrupted" in err, err)
            if partial:
                # The message says how far it came, which may be nowhere.
                equal(b"some\t" in out, "after 0 B" not in err, err)
                check("part only" in err, err)
            else:
                equal(out, b"")
                check("--partial" in err, err)


@test
def an_interrupt_among_many_files_is_a_clean_message():
    with folder() as path:
        for number in range(3000):
            write(path / str(number), b"word " * 2000)
        for delay in (0, 0.001, 0.003, 0.01, 0.02):
            process = subprocess.Popen([WHORL, "wordcount", str(path), str(path), str(path)],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(delay)
            tell(process, signal.SIGINT)
            out, err = process.communicate(timeout=20)
            if process.returncode == -signal.SIGINT:
                continue  # before it could take signals
            check(process.returncode in (0, 1), process.returncode, err)
            check(process.returncode == 0 or "interrupted" in err, err)
            equal(out == "", process.returncode == 1, out)


@test
def a_terminal_gets_a_progress_bar_and_is_left_clean():
    main_end, other = pty.openpty()
    process = subprocess.Popen([WHORL, "wordcount", "-"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=other)
    os.close(other)
    # Feed it until it shows something.
    while not select.select([main_end], [], [], 0.01)[0]:
        process.stdin.write(b"word " * 1000)
        process.stdin.flush()
    process.communicate(timeout=20)
    equal(process.returncode, 0)
    shown = b""
    while select.select([main_end], [], [], 0.1)[0]:
        try:
            shown += os.read(main_end, 65536)
        except OSError:
            break
    os.close(main_end)
    check(shown.startswith(b"\r") and b"B/s" in shown, shown[:100])
    # What comes after the bar starts on a clean line.
    check(b"\r\x1b[Kwhorl: " in shown and shown.endswith(b"\n"), shown[-100:])


if __name__ == "__main__":
    main()
