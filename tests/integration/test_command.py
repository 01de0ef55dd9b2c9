#!/usr/bin/env -S python3 -B
"""The command itself: help, wrong usage, exit status, output that cannot be written."""
import os

from harness import check, equal, main, run, says, test

COMMANDS = ("doctor", "echo", "load", "sim", "wordcount")


@test
def help_is_on_standard_output_and_status_0():
    for arguments in (["--help"], ["-h"], *([name, "--help"] for name in COMMANDS),
                      ["echo", "--listen", "x", "-h"]):
        done = run(*arguments)
        equal(done.returncode, 0, arguments, "status")
        check(done.stdout.startswith("usage: whorl"), arguments, done.stdout)
        equal(done.stderr, "", arguments, "standard error")
    for name in COMMANDS:
        check(f"  {name} " in run("--help").stdout, name, "is not in the help")


@test
def version_is_a_number():
    done = run("--version")
    equal(done.returncode, 0)
    check(done.stdout.split()[1].count(".") == 2, done.stdout)


@test
def nothing_is_wrong_usage():
    done = run()
    equal(done.returncode, 2)
    equal(done.stdout, "")
    check("usage: whorl" in done.stderr)


@test
def unknown_words_are_answered_with_the_nearest():
    says(run("ecko"), 2, "ecko", "did you mean 'echo'")
    says(run("wordcont"), 2, "did you mean 'wordcount'")
    says(run("docter"), 2, "did you mean 'doctor'")
    says(run("zzzzzzzzzzzz"), 2, "unknown command", "--help")
    says(run("x" * 1000), 2, "unknown command")
    says(run("echo", "--lisen", "x"), 2, "did you mean '--listen'")
    says(run("load", "--conections", "1"), 2, "did you mean '--connections'")
    says(run("wordcount", "--topp", "1", "x"), 2, "did you mean '--top'")
    says(run("doctor", "--jsn"), 2, "did you mean '--json'")
    says(run("echo", "--qqqqqqqqqqqqqq"), 2, "unknown option", "--help")


@test
def wrong_values_are_named():
    says(run("echo", "--listen"), 2, "--listen", "value")
    says(run("echo", "--listen", "127.0.0.1:0", "--loops"), 2, "--loops", "value")
    for value in ("0", "-1", "x", "", "1x", "99999999999999999999", "1025"):
        says(run("echo", "--listen", "127.0.0.1:0", "--loops", value), 2, "--loops", "number")
    says(run("echo", "--listen", "127.0.0.1:0", "--pin=yes"), 2, "--pin", "no value")
    for value in ("0", "-1", "x", "1h", "nan", "inf", ""):
        says(run("load", "--connect", "127.0.0.1:1", "--duration", value), 2, "--duration", "time")


@test
def what_is_missing_or_too_much_is_named():
    says(run("echo"), 2, "--listen", "missing")
    says(run("load"), 2, "--connect", "missing")
    says(run("wordcount"), 2, "FILE|file")
    says(run("echo", "--listen", "127.0.0.1:0", "surplus"), 2, "surplus")
    says(run("doctor", "surplus"), 2, "surplus")


@test
def bad_addresses_are_named():
    for address in ("", "80", "localhost:80", "1.2.3.4:99999", "[::1:80", "unix:", ":x"):
        says(run("echo", "--listen", address), 2, "not an address|address")
        says(run("load", "--connect", address), 2, "not an address|address")
    says(run("echo", "--listen", "unix:/" + "x" * 200), 2, "address|long")


@test
def output_that_cannot_be_written_is_status_1():
    for arguments in (["--help"], ["--version"], ["echo", "--help"], ["doctor"],
                      ["doctor", "--json"], ["wordcount", "/etc/passwd"],
                      ["wordcount", "--json", "/etc/passwd"]):
        with open("/dev/full", "w") as full:
            done = run(*arguments, stdout=full)
        says(done, 1, "write", "space")


@test
def closed_output_is_status_1():
    for arguments in (["--help"], ["doctor"], ["wordcount", "/etc/passwd"]):
        done = run(*arguments, stdout=None, preexec_fn=lambda: os.close(1))
        says(done, 1, "write")
        read, write = os.pipe()
        os.close(read)
        done = run(*arguments, stdout=write)
        os.close(write)
        says(done, 1, "write")


@test
def an_unknown_backend_is_named():
    done = run("echo", "--listen", "127.0.0.1:0", env={**os.environ, "WHORL_BACKEND": "kqueue"})
    says(done, 2, "kqueue|backend", "uring")


if __name__ == "__main__":
    main()
