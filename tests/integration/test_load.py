#!/usr/bin/env -S python3 -B
"""whorl load: its numbers, and its judgement of servers that do not echo as they should."""
import json
import signal
import socket
import subprocess
import threading
import time

from harness import WHORL, Server, check, equal, folder, main, run, says, tell, test

BRIEF = ("--duration", "0.3", "--warmup", "0.1")


def load(address, *arguments, **options):
    done = run("load", "--connect", address, "--json", *BRIEF, *arguments, **options)
    equal(done.returncode, 0, done.stderr)
    equal(done.stdout.count("\n"), 1)
    return json.loads(done.stdout)


class Listener:
    """A server of our own that does `serve(connection)` for each connection."""

    def __init__(self, serve):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.serve = serve
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.guarded, args=(connection,), daemon=True).start()

    def guarded(self, connection):
        with connection:
            try:
                self.serve(connection)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


@test
def it_measures_our_own_server():
    with Server() as server:
        for arguments in (("--connections", "1"), ("--connections", "64"),
                          ("--connections", "10", "--size", "100000"),
                          ("--connections", "7", "--size", "1"),
                          ("--connections", "20", "--loops", "2")):
            answer = load(server.address, *arguments)
            check(answer["requests"] > 0, arguments, answer)
            equal(answer["errors"], 0, arguments)
        server.stop()


@test
def a_thousand_connections():
    with Server("127.0.0.1:0", "--stats") as server:
        answer = load(server.address, "--connections", "1000")
        equal((answer["errors"], answer["connections"]), (0, 1000))
        equal(json.loads(server.stop())["errors"], 0)


@test
def unix_sockets_too():
    with folder() as path, Server(f"unix:{path}/s") as server:
        equal(load(server.address, "--connections", "10")["errors"], 0)
        server.stop()


@test
def a_rate_is_kept_to():
    with Server() as server:
        answer = load(server.address, "--connections", "10", "--rate", "1000", "--duration", "1")
        # What a busy machine has no connection free for in time is not sent, but counted.
        check(0 < answer["requests"] <= 1100, answer)
        check(900 <= answer["requests"] + answer["unsent"] <= 1100, answer)
        server.stop()


@test
def percentiles_are_in_order():
    with Server() as server:
        answer = load(server.address, "--connections", "10")
        values = [answer[name] for name in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns",
                                            "max_ns")]
        equal(values, sorted(values))
        check(values[0] > 0, answer)
        server.stop()


@test
def nobody_there_is_status_1():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = "127.0.0.1:%d" % closed.getsockname()[1]
    says(run("load", "--connect", address, *BRIEF), 1, address, "refused")
    says(run("load", "--connect", "unix:/nonexistent/s", *BRIEF), 1, "/nonexistent/s", "no such")


@test
def a_wrong_byte_is_status_1():
    def spoil(connection):
        while data := connection.recv(65536):
            connection.sendall(bytes([data[0] ^ 1]) + data[1:])

    with Listener(spoil) as server:
        done = run("load", "--connect", server.address, "--connections", "2", *BRIEF)
        says(done, 1, "2 of 2", "does not echo")


@test
def a_server_that_closes_or_resets_is_status_1():
    def close_soon(connection):
        connection.sendall(connection.recv(10))

    with Listener(close_soon) as server:
        done = run("load", "--connect", server.address, "--connections", "2", *BRIEF)
        equal(done.returncode, 1, done.stderr)


@test
def a_server_that_never_answers_does_not_hold_it():
    with Listener(lambda connection: connection.recv(10) and time.sleep(30)) as server:
        started = time.monotonic()
        run("load", "--connect", server.address, "--connections", "2", *BRIEF, timeout=30)
        check(time.monotonic() - started < 20, "it hung")


@test
def a_server_that_dies_is_status_1():
    with Server("127.0.0.1:0", "--loops", "1") as server:
        process = subprocess.Popen([WHORL, "load", "--connect", server.address, "--duration", "20"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        server.process.kill()
        out, err = process.communicate(timeout=30)
        equal(process.returncode, 1, out, err)


@test
def an_interrupt_prints_what_was_measured():
    with Server() as server:
        process = subprocess.Popen([WHORL, "load", "--connect", server.address, "--duration", "30",
                                    "--warmup", "0.1", "--json"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.7)
        tell(process, signal.SIGINT)
        out, err = process.communicate(timeout=20)
        equal(process.returncode, 1, err)
        check(json.loads(out)["requests"] > 0, out)
        server.stop()


@test
def output_that_cannot_be_written_is_status_1():
    with Server() as server:
        with open("/dev/full", "w") as full:
            says(run("load", "--connect", server.address, *BRIEF, stdout=full), 1, "write")
        server.stop()


if __name__ == "__main__":
    main()
