#!/usr/bin/env -S python3 -B
"""Which backend the command takes and what it says about it, where io_uring is refused in various
ways; and what its servers forbid themselves."""
import errno
import json
import os
import signal

from harness import BUILD, Server, Skip, check, echoes, equal, folder, main, run, says, test

UNDER_FILTER = str(BUILD / "tests/under_filter")
SETUP = "io_uring_setup"
REGISTER_RESTRICTIONS, REGISTER_PBUF_RING = 11, 22

# How each refusal reads; no sentence fits another refusal.
SENTENCES = {
    errno.EPERM: "a seccomp filter forbids io_uring",
    errno.ENOSYS: "a seccomp filter hides io_uring",
    errno.EACCES: "forbids io_uring to this program",
}

# The tests choose for themselves.
for name in ("WHORL_BACKEND", "WHORL_URING_OFF"):
    os.environ.pop(name, None)


def have_io_uring():
    return '"name":"io_uring","available":true' in run("doctor", "--json").stdout


def need_io_uring():
    if not have_io_uring():
        raise Skip("no io_uring here that could be refused")


def refusing(*rules):
    """The words in front of a command that make the kernel refuse."""
    return [UNDER_FILTER, *rules, "--"]


def run_refused(rules, *arguments, **options):
    done = run(*rules[1:], str(BUILD / "tools/whorl"), *arguments, program=rules[0], **options)
    if done.returncode == 77:
        raise Skip(done.stderr)
    return done


class RefusedServer(Server):
    """A running `whorl echo` in front of which `rules` stand."""

    def __init__(self, rules, *arguments, **options):
        script = '#!/bin/sh\nexec ' + " ".join([*rules, str(BUILD / "tools/whorl"), '"$@"']) + "\n"
        with folder() as path:
            program = path / "refused"
            program.write_text(script)
            program.chmod(0o755)
            super().__init__("127.0.0.1:0", *arguments, program=str(program), **options)


def count_words(done):
    equal(done.returncode, 0, done.stderr, "status")
    check("root" in done.stdout or ":" in done.stdout, done.stdout)


@test
def where_io_uring_works_nothing_is_said():
    need_io_uring()
    with Server() as server:
        equal(server.said, [])
        check("(uring," in server.greeting, server.greeting)
        server.stop()
    done = run("wordcount", "/etc/passwd")
    count_words(done)
    equal(done.stderr, "")


@test
def each_refusal_has_its_own_sentence_and_epoll_serves():
    need_io_uring()
    for number, sentence in SENTENCES.items():
        with RefusedServer(refusing(f"{SETUP}={number}")) as server:
            equal(len(server.said), 1, server.said)
            line = server.said[0]
            check(line.startswith("whorl: epoll instead of io_uring: "), line)
            check("(epoll," in server.greeting, server.greeting)
            for other in SENTENCES.values():
                equal(other in line, other == sentence, number, other, "in", line)
            check("; " in line, "no cure in:", line)
            with server.connect() as client:
                echoes(client, os.urandom(30000))
            server.stop()


@test
def every_command_that_runs_the_engine_falls_back():
    need_io_uring()
    rules = refusing(f"{SETUP}={errno.EPERM}")
    done = run_refused(rules, "wordcount", "/etc/passwd")
    count_words(done)
    equal(done.stderr.count("\n"), 1, done.stderr)
    check("epoll instead of io_uring" in done.stderr, done.stderr)
    with Server() as server:
        done = run_refused(rules, "load", "--connect", server.address, "--duration", "0.1",
                           "--warmup", "0.1", "--json")
        equal(done.returncode, 0, done.stderr)
        equal(done.stderr.count("epoll instead of io_uring"), 1, done.stderr)
        check(json.loads(done.stdout), done.stdout)
        server.stop()


@test
def all_loops_have_the_same_backend():
    need_io_uring()
    with RefusedServer(refusing(f"{SETUP}={errno.EPERM}"), "--loops", "3") as server:
        check("(epoll, 3 loops)" in server.greeting, server.greeting)
        links = [os.readlink(f"/proc/{server.process.pid}/fd/{fd}")
                 for fd in os.listdir(f"/proc/{server.process.pid}/fd")]
        equal([link for link in links if "io_uring" in link], [])
        server.stop()


@test
def what_was_asked_for_is_never_replaced():
    need_io_uring()
    rules = refusing(f"{SETUP}={errno.EPERM}")
    environment = {**os.environ, "WHORL_BACKEND": "uring"}
    for done in (run_refused(rules, "echo", "--listen", "127.0.0.1:0", "--backend", "uring"),
                 run_refused(rules, "wordcount", "--backend=uring", "/etc/passwd"),
                 run_refused(rules, "load", "--connect", "127.0.0.1:1", "--backend", "uring"),
                 run_refused(rules, "wordcount", "/etc/passwd", env=environment)):
        says(done, 3, SENTENCES[errno.EPERM], "--security-opt")
        check("epoll" not in done.stderr, done.stderr)
        equal(done.stdout, "")


@test
def epoll_on_request_says_nothing():
    for arguments, options in ((["--backend", "epoll"], {}),
                               ([], {"env": {**os.environ, "WHORL_BACKEND": "epoll"}})):
        with Server("127.0.0.1:0", *arguments, **options) as server:
            equal(server.said, [])
            check("(epoll," in server.greeting, server.greeting)
            with server.connect() as client:
                echoes(client)
            server.stop()
    done = run("wordcount", "--backend", "epoll", "/etc/passwd")
    count_words(done)
    equal(done.stderr, "")


@test
def the_option_goes_before_the_environment():
    done = run("wordcount", "--backend", "epoll", "/etc/passwd",
               env={**os.environ, "WHORL_BACKEND": "kqueue"})
    equal(done.returncode, 0, done.stderr)


@test
def an_unknown_backend_is_answered_with_those_there_are():
    for done in (run("echo", "--listen", "127.0.0.1:0", "--backend", "kqueue"),
                 run("wordcount", "--backend=kqueue", "/etc/passwd"),
                 run("load", "--connect", "127.0.0.1:1", "--backend", "kqueue"),
                 run("wordcount", "/etc/passwd", env={**os.environ, "WHORL_BACKEND": "kqueue"})):
        says(done, 2, "'kqueue'", "uring", "epoll")


@test
def shortage_is_no_reason_to_fall_back():
    need_io_uring()
    for number, word in ((errno.ENOMEM, "ulimit -l"), (errno.EMFILE, "ulimit -n"),
                         (errno.ENFILE, "ulimit -n")):
        done = run_refused(refusing(f"{SETUP}={number}"), "wordcount", "/etc/passwd")
        says(done, 3, word)
        check("epoll" not in done.stderr, done.stderr)


@test
def the_help_names_the_option():
    for command in ("echo", "load", "wordcount"):
        check("--backend NAME" in run(command, "--help").stdout, command)
    check("--seccomp" in run("echo", "--help").stdout)


@test
def the_doctor_tells_why():
    need_io_uring()
    for number, sentence in SENTENCES.items():
        done = run_refused(refusing(f"{SETUP}={number}"), "doctor")
        equal(done.returncode, 0, done.stderr)
        lines = [line for line in done.stdout.splitlines() if sentence in line]
        equal(len(lines), 1, done.stdout)
        check(lines[0].startswith("warn  backend"), lines[0])


@test
def a_feature_that_fails_its_test_is_done_without():
    need_io_uring()
    rules = refusing(f"io_uring_register:{REGISTER_PBUF_RING}={errno.EINVAL}")
    features = json.loads(run_refused(rules, "doctor", "--json").stdout)["features"]
    found = {feature["name"]: feature for feature in features}
    for name in ("bufring", "multirecv", "incremental", "bundle"):
        check(not found[name]["available"] and not found[name]["used"], found[name])
        check(found[name]["why"], found[name])
    for name in ("multiaccept", "msgring"):
        check(found[name]["used"], found[name])
    with RefusedServer(rules) as server:
        check("(uring," in server.greeting, server.greeting)
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            echoes(client, os.urandom(30000))
        for client in clients:
            client.close()
        server.stop()


@test
def features_are_turned_off_by_name():
    need_io_uring()
    names = ("bufring", "multirecv", "multiaccept", "msgring")
    for off in (*names, ",".join(names)):
        environment = {**os.environ, "WHORL_URING_OFF": off}
        done = run("doctor", "--json", env=environment)
        for feature in json.loads(done.stdout)["features"]:
            if feature["name"] in off.split(","):
                check(feature["available"] and not feature["used"], feature)
                check("WHORL_URING_OFF" in feature["why"], feature)
        with Server("127.0.0.1:0", env=environment) as server:
            with server.connect() as client:
                echoes(client, os.urandom(30000))
            server.stop()
    says(run("wordcount", "/etc/passwd", env={**os.environ, "WHORL_URING_OFF": "msgring,wings"}), 2,
         "'wings'", *names)


@test
def servers_restrict_their_rings():
    need_io_uring()
    # A kernel that knows no restrictions: the server, which asks for them, must not start without.
    rules = refusing(f"io_uring_register:{REGISTER_RESTRICTIONS}={errno.EINVAL}")
    done = run_refused(rules, "echo", "--listen", "127.0.0.1:0", "--backend", "uring")
    says(done, 3, "restrictions")
    done = run_refused(rules, "wordcount", "--backend", "uring", "/etc/passwd")
    equal(done.returncode, 0, done.stderr)


def thread_status(pid):
    for thread in os.listdir(f"/proc/{pid}/task"):
        yield dict(line.split(":\t", 1) for line in
                   open(f"/proc/{pid}/task/{thread}/status").read().splitlines() if ":\t" in line)


@test
def under_its_own_filter_a_server_serves():
    backends = ("uring", "epoll") if have_io_uring() else ("epoll",)
    # The leak checker at the end is a program of its own.
    environment = {**os.environ, "LSAN_OPTIONS": "detect_leaks=0", "ASAN_OPTIONS": "detect_leaks=0"}
    for backend in backends:
        for loops in ("1", "2"):
            with Server("127.0.0.1:0", "--seccomp", "--stats", "--pin", "--loops", loops,
                        "--backend", backend, env=environment) as server:
                for status in thread_status(server.process.pid):
                    equal(status["Seccomp"], "2", backend)
                    equal(status["NoNewPrivs"], "1", backend)
                clients = [server.connect() for _ in range(50)]
                for client in clients:
                    echoes(client, os.urandom(30000))
                for client in clients[::2]:
                    client.close()
                check(json.loads(server.stop())["echoes"] > 0)


@test
def under_its_own_filter_a_server_removes_its_path():
    environment = {**os.environ, "LSAN_OPTIONS": "detect_leaks=0", "ASAN_OPTIONS": "detect_leaks=0"}
    with folder() as path:
        for backend in ("uring", "epoll") if have_io_uring() else ("epoll",):
            with Server(f"unix:{path}/socket", "--seccomp", "--loops", "2", "--backend", backend,
                        env=environment) as server:
                with server.connect() as client:
                    echoes(client, os.urandom(30000))
                server.stop(number=signal.SIGINT)
            check(not (path / "socket").exists(), backend, "left its socket")


@test
def without_the_option_there_is_no_filter():
    with Server() as server:
        mine = open("/proc/self/status").read().split("Seccomp:\t")[1][0]
        for status in thread_status(server.process.pid):
            equal(status["Seccomp"], mine)
        server.stop()


if __name__ == "__main__":
    main()
