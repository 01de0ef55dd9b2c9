#!/usr/bin/env -S python3 -B
"""The command on disks that are full: what it writes goes to a file system of 256 KiB, one of the
test's own, in a namespace that ends with each command."""
import subprocess

from harness import WHORL, Skip, check, equal, folder, main, run, test

WORDS = 60000
ROOM = "mount -t tmpfs -o size=256k none small"
SPACE = "no space left"


def on_small_disk(path, script):
    """Run a script of the shell where `small` below `path` is such a disk; $W is the command."""
    (path / "small").mkdir(exist_ok=True)
    trial = ["unshare", "-rm", "sh", "-c", "cd \"$0\" && " + ROOM, path]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        raise Skip("no file system may be mounted in a namespace of one's own")
    return subprocess.run(["unshare", "-rm", "sh", "-c", f"cd \"$0\" && {ROOM}\n{script}", path],
                          env={"W": WHORL, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
                          capture_output=True, text=True, check=False)


def write_words(path):
    (path / "words").write_text("".join(f"word{i * 7919 % WORDS:07}\n" for i in range(WORDS)))


def write_ngrams(path):
    (path / "ngrams").write_text("".join(f"gram{i * 7919 % WORDS:07}\t1987\t{i + 1}\t1\n"
                                         for i in range(WORDS)))


COMMANDS = {"wordcount": ("words", write_words), "ngram": ("ngrams", write_ngrams)}


def each_command():
    for kind, (name, write) in COMMANDS.items():
        with folder() as path:
            write(path)
            expected = run(kind, path / name)
            equal(expected.returncode, 0, expected.stderr)
            yield kind, name, path, expected.stdout


def fails(done, *words):
    equal(done.returncode, 1, done.stderr, "exit status")
    check(done.stderr.startswith("whorl: "), "not a message of the command:", done.stderr)
    for word in words:
        check(word in done.stderr.lower(), f"no {word!r} in:", done.stderr)


@test
def temporary_files_that_do_not_fit_are_named_and_nothing_is_printed():
    for kind, name, path, _ in each_command():
        done = on_small_disk(path, f"$W {kind} --memory 1M --tmp small {name}\n"
                             "status=$?; ls -A small; exit $status")
        fails(done, "small", SPACE)
        equal(done.stdout, "", "rows, and what is left on the disk;")


@test
def output_that_does_not_fit_is_an_error():
    for kind, name, path, expected in each_command():
        check(len(expected) > 256 << 10, "the rows fit")
        done = on_small_disk(path, f"$W {kind} {name} >small/out\nstatus=$?; cat small/out\n"
                             "exit $status")
        fails(done, SPACE)
        check(expected.startswith(done.stdout), "what came out is not the first of the rows")
        check(len(done.stdout) < len(expected))


@test
def a_resume_folder_that_does_not_fit_is_named_and_gone_on_from_with_room():
    for kind, name, path, expected in each_command():
        # More room, and the same command again: from there, or from the beginning.
        done = on_small_disk(path, f"$W {kind} --resume small/state {name} >printed\n"
                             "status=$?; mount -o remount,size=100m small\n"
                             f"$W {kind} --resume small/state {name} >again || exit 9\n"
                             "ls -A small; exit $status")
        fails(done, "small/state", SPACE)
        equal((path / "printed").read_text(), "", "rows although the state was lost;")
        check((path / "again").read_text() == expected, "other rows with room")
        equal(done.stdout, "", "what is left on the disk;")


@test
def a_resume_folder_on_a_full_disk_is_named_at_once():
    for kind, name, path, _ in each_command():
        done = on_small_disk(path, "cat /dev/zero >small/full 2>&-\n"
                             f"$W {kind} --resume small/state {name}")
        fails(done, "small/state", SPACE)
        equal(done.stdout, "", "rows although nothing can be kept;")


if __name__ == "__main__":
    main()
