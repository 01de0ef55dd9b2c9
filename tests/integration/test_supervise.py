#!/usr/bin/env -S python3 -B
"""whorl echo --processes: many processes behind one address, that die, are exchanged, and end."""
import contextlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import threading
import time

from harness import (COMMAND_SECONDS_MAX, WHORL, Server, Skip, check, echoes, equal, folder, main,
                     receive, receive_all, run, says, tell, test)

SECONDS = 20
LISTEN = "127.0.0.1:0"


def until(condition, *what, seconds=SECONDS):
    """Wait until `condition` gives something true, and return that."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        check(time.monotonic() < end, "did not happen:", *what)
        time.sleep(0.005)
    return value


def alive(pid):
    """Whether it runs: what is dead and not yet waited for does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def started(pid):
    """Whether it is the program already, and not still what is about to become it."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"WHORL_SUPERVISED=" in file.read()
    except OSError:
        return False


class Processes(Server):
    """A supervisor, and what it says."""

    def __init__(self, count, *arguments, address=LISTEN, **options):
        super().__init__(address, "--processes", str(count), *arguments, **options)
        self.count = count
        self.lines = queue.Queue()
        self.log = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        until(lambda: len(self.workers()) == count and all(map(started, self.workers())),
              "all processes")

    def read(self):
        for line in self.process.stderr:
            self.log.append(line)
            self.lines.put(line)

    def tells(self, pattern, seconds=SECONDS):
        """The next line that matches; those before it are passed over."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"never said {pattern!r}: {''.join(self.log)}") from None
            if match := re.search(pattern, line):
                return match

    def workers(self):
        pid = self.process.pid
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
                pids = [int(word) for word in file.read().split()]
        except OSError:
            return []
        return sorted(child for child in pids if alive(child))

    def exchange(self):
        tell(self.process, signal.SIGHUP)
        self.tells("all processes have been exchanged")

    def finish(self, status=0):
        self.process.wait(COMMAND_SECONDS_MAX)
        out = self.process.stdout.read()
        self.reader.join(SECONDS)
        equal(self.process.returncode, status, "exit status;", "".join(self.log), "status")
        return out

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def field(pid, name):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return re.search(rf"^{name}:\s*(.*)$", file.read(), re.MULTILINE).group(1)


# Load

class Load:
    """Clients in threads of their own. What goes wrong is kept, and told at the end."""

    def __init__(self, server, short=2, long=0, seconds=0.5):
        self.server, self.seconds = server, seconds
        self.over = threading.Event()
        self.short = self.long = 0
        self.errors = []
        self.threads = [threading.Thread(target=self.guard, args=(self.one_short,))
                        for _ in range(short)]
        self.threads += [threading.Thread(target=self.guard, args=(self.one_long,))
                         for _ in range(long)]
        for thread in self.threads:
            thread.start()

    def guard(self, client):
        while not self.over.is_set():
            try:
                client()
            except Exception as error:
                self.errors.append(error)

    def one_short(self):
        with self.server.connect() as client:
            echoes(client, os.urandom(100))
            client.shutdown(socket.SHUT_WR)
            equal(receive_all(client), b"", "what comes after the echo")
        self.short += 1

    def one_long(self):
        end = time.monotonic() + self.seconds
        with self.server.connect() as client:
            while time.monotonic() < end:
                echoes(client, os.urandom(1000))
        self.long += 1

    def more(self):
        """Wait until every kind of client was served again."""
        short, long = self.short, self.long
        until(lambda: self.errors or self.short > short + 10, "connections")

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(SECONDS)
        return self.errors

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# Serving

@test
def connections_spread_over_all_processes():
    with Processes(3) as server:
        before = {pid: descriptors(pid) for pid in server.workers()}
        clients = [server.connect() for _ in range(120)]
        for client in clients:
            echoes(client)
        for pid, count in before.items():
            check(descriptors(pid) - count >= 15, "one process has only",
                  descriptors(pid) - count, "of 120 connections")
        for client in clients:
            client.close()
        server.stop()


@test
def one_process_of_two_loops_and_two_of_one_serve_alike():
    for arguments in (("1", "--loops", "2"), ("1",), ("2",)):
        with Processes(int(arguments[0]), *arguments[1:], "--stats") as server:
            clients = [server.connect() for _ in range(50)]
            for client in clients:
                echoes(client)
                client.close()
            stats = json.loads(server.stop())
        equal((stats["connections"], stats["echoes"], stats["errors"]), (50, 50, 0))


@test
def processes_share_a_unix_socket():
    with folder() as path, Processes(3, "--stats", address=f"unix:{path}/s") as server:
        with Load(server) as load:
            for _ in range(3):
                load.more()
                server.exchange()
            equal(load.stop(), [])
        equal(json.loads(server.stop())["connections"], load.short)
        check(not (path / "s").exists(), "the socket file was left behind")


def links(pid):
    """What the descriptors of a process are; some come and go meanwhile."""
    names = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(entry.path))
    return names


@test
def descriptors_of_a_process_are_its_own():
    """A listener, the channel, shared memory; the ring or what stands for it; nothing else."""
    with open("/dev/null", encoding="utf-8") as stray:
        os.set_inheritable(stray.fileno(), True)
        with Processes(2, close_fds=False) as server:
            def is_clean(pid):
                names = links(pid)
                return (sum(name.startswith("socket:") for name in names) == 2
                        and names.count("/dev/null") == 1)

            for pid in server.workers():
                # Until it is the program it has what the supervisor has.
                until(lambda: is_clean(pid), links(pid))
            server.stop()


@test
def seccomp_is_for_those_who_serve():
    with Processes(2, "--seccomp") as server:
        equal(field(server.process.pid, "Seccomp"), "0")
        for pid in server.workers():
            until(lambda: field(pid, "Seccomp") == "2", "the filter")
        server.exchange()
        with server.connect() as client:
            echoes(client)
        pids = server.workers()
        server.process.kill()
        until(lambda: not any(map(alive, pids)), "the end of all")


@test
def pinned_processes_have_cpus_of_their_own():
    if len(os.sched_getaffinity(0)) < 2:
        raise Skip("there is one CPU")
    with Processes(2, "--pin") as server:
        def cpus():
            return [sorted(os.sched_getaffinity(pid)) for pid in server.workers()]

        until(lambda: all(len(own) == 1 for own in cpus()), "one CPU each")
        equal(len({own[0] for own in cpus()}), 2, "CPUs")
        server.stop()


# Dying

@test
def a_killed_process_is_replaced_and_the_others_go_on():
    with Processes(3, "--stats") as server:
        clients = [server.connect() for _ in range(60)]
        for client in clients:
            echoes(client)
        victim = server.workers()[1]
        os.kill(victim, signal.SIGKILL)
        server.tells(rf"process {victim} was ended by signal 9")
        server.tells("serves in place")
        lost = 0
        for client in clients:
            try:
                echoes(client)
            except (OSError, AssertionError):
                lost += 1
        check(0 < lost < 50, lost, "of 60 connections were those of one of three")
        for _ in range(30):
            with server.connect() as client:
                echoes(client)
        stats = json.loads(server.stop())
        # Those of the dead are counted, but for one that it was just about to count.
        equal(stats["connections"], 90)
        check(0 <= 60 + 60 - lost + 30 - stats["echoes"] <= 1, stats, lost)


@test
def killing_under_load_refuses_nobody():
    with Processes(3) as server:
        with Load(server, short=3) as load:
            for _ in range(6):
                load.more()
                os.kill(server.workers()[0], signal.SIGKILL)
                until(lambda: len(server.workers()) == 3, "the next")
            load.more()
            errors = load.stop()
        for error in errors:
            check(not isinstance(error, ConnectionRefusedError), "refused")
        # A connection that the dead one had, or was just given.
        check(len(errors) <= 6 * 3, len(errors), "clients failed:", errors[:3])
        server.stop()


@test
def who_dies_again_and_again_is_started_ever_later():
    with Processes(1) as server:
        deaths, end = 0, time.monotonic() + 1.5
        before = server.cpu_ticks()
        while time.monotonic() < end:
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
                deaths += 1
                until(lambda: not alive(pid), "its death")
            time.sleep(0.001)
        # At once, and after about 50, 100, 200, 400 and 800 ms.
        check(3 <= deaths <= 9, deaths, "starts in 1.5 seconds")
        check(server.cpu_ticks() - before <= 50, "the supervisor spins")
        server.tells(r"starts in 0\.0\d s")
        server.tells(r"starts in 0\.[1-9]\d s")
        with server.connect() as client:
            echoes(client)
        server.stop()


@test
def no_descriptor_is_left_of_a_hundred_processes():
    with Processes(4) as server:
        server.exchange()
        until(lambda: len(server.workers()) == 4, "the old ones' end")
        before = descriptors(server.process.pid)
        for _ in range(25):
            server.exchange()
        until(lambda: len(server.workers()) == 4, "the old ones' end")
        # Before, some of those that had ended may not have been let go of yet.
        until(lambda: descriptors(server.process.pid) <= before, "as many descriptors as before")
        server.stop()


# Exchanging

@test
def nothing_is_lost_when_processes_are_exchanged():
    with Processes(3, "--stats") as server:
        with Load(server, short=3, long=3) as load:
            seen = set(server.workers())
            for _ in range(6):
                load.more()
                server.exchange()
                seen.update(server.workers())
            load.more()
            errors = load.stop()
        equal(errors, [])
        check(load.long >= 3, "long connections")
        check(len(seen) >= 7 * 3, len(seen), "processes were seen")
        stats = json.loads(server.stop())
        equal(stats["connections"], load.short + load.long)
        equal(stats["errors"], 0)


@test
def a_connection_outlives_the_exchange():
    for loops in ("1", "2"):
        with Processes(2, "--loops", loops) as server:
            old = server.workers()
            clients = [server.connect() for _ in range(10)]
            for client in clients:
                echoes(client)
            server.exchange()
            for client in clients:
                echoes(client, b"still here")
                client.shutdown(socket.SHUT_WR)
                equal(receive_all(client), b"")
            until(lambda: not any(map(alive, old)), "the end of those that served before")
            server.stop()


@test
def retiring_has_a_limit():
    with Processes(2, "--retire", "200ms") as server:
        old = server.workers()
        clients = [server.connect() for _ in range(10)]
        for client in clients:
            echoes(client)
        server.exchange()
        for client in clients:
            client.sendall(b"last")
            check(receive_all(client) in (b"last", b""), "neither an answer nor the end")
        until(lambda: not any(map(alive, old)), "the end of those that served before")
        server.stop()


@test
def a_request_to_exchange_while_one_is_going_on_is_another():
    with Processes(2) as server:
        for _ in range(5):
            tell(server.process, signal.SIGHUP)
        server.tells("all processes have been exchanged")
        with server.connect() as client:
            echoes(client)
        server.stop()


def copy_program(path):
    shutil.copy(WHORL, path)
    return str(path)


@test
def a_replaced_program_is_taken():
    with folder() as path:
        program = copy_program(path / "whorl")
        with Processes(2, program=program) as server:
            old = os.stat(f"/proc/{server.workers()[0]}/exe").st_ino
            copy_program(path / "new")
            os.replace(path / "new", program)
            new = os.stat(program).st_ino
            check(old != new)
            server.exchange()
            until(lambda: len(server.workers()) == 2, "the old ones' end")
            for pid in server.workers():
                equal(os.stat(f"/proc/{pid}/exe").st_ino, new)
            # Those that die are replaced by it too.
            os.kill(server.workers()[0], signal.SIGKILL)
            server.tells("serves in place")
            server.stop()


def backend_of(pid):
    return "uring" if "anon_inode:[io_uring]" in links(pid) else "epoll"


def relieve_each_other(path, address):
    program = copy_program(path / "whorl")
    with Processes(2, "--stats", address=address, program=program) as server:
        if backend_of(server.workers()[0]) != "uring":
            raise Skip("no io_uring")
        with Load(server, short=3, long=3, seconds=0.1) as load:
            for backend in ("epoll", "uring") * 2:
                other = path / "other"
                other.write_text(f"#!/bin/sh\nWHORL_BACKEND={backend} exec {WHORL} \"$@\"\n",
                                 encoding="utf-8")
                other.chmod(0o755)
                os.replace(other, program)
                load.more()
                server.exchange()
                until(lambda: len(server.workers()) == 2, "the old ones' end")
                equal([backend_of(pid) for pid in server.workers()], [backend] * 2)
            load.more()
            errors = load.stop()
        equal(errors, [])
        stats = json.loads(server.stop())
        equal(stats["connections"], load.short + load.long)
        equal(stats["errors"], 0)


@test
def processes_of_either_backend_relieve_each_other():
    """They share a listening socket, and so its mode."""
    if os.environ.get("WHORL_BACKEND"):
        raise Skip("WHORL_BACKEND says which backend runs")
    with folder() as path:
        relieve_each_other(path, LISTEN)
        relieve_each_other(path, f"unix:{path}/s")


@test
def a_broken_program_leaves_the_old_ones():
    with folder() as path:
        program = copy_program(path / "whorl")
        with Processes(2, program=program) as server, server.connect() as client:
            old = server.workers()
            for content, mode, words in ((b"not a program\n", 0o755, "Exec format error"),
                                         (b"#!/bin/sh\nexit 7\n", 0o755, "ended before"),
                                         (b"", 0o644, "Permission denied")):
                broken = path / "broken"
                broken.write_bytes(content)
                broken.chmod(mode)
                os.replace(broken, program)
                tell(server.process, signal.SIGHUP)
                server.tells("processes are not exchanged.*" + words)
                equal(server.workers(), old, "processes")
                echoes(client)
            os.unlink(program)
            tell(server.process, signal.SIGHUP)
            server.tells("processes are not exchanged.*No such file")
            echoes(client)
            copy_program(path / "new")
            os.replace(path / "new", program)
            server.exchange()
            echoes(client)
            client.close()
            server.stop()


# The end

@test
def sigterm_ends_all_and_answers_what_has_arrived():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Processes(2) as server:
            pids = server.workers()
            clients = [server.connect() for _ in range(20)]
            for client in clients:
                echoes(client)
            for client in clients:
                client.sendall(b"x" * 20000)
            tell(server.process, number)
            for client in clients:
                equal(len(receive_all(client)), 20000, "bytes back")
                client.close()
            server.finish()
            equal([pid for pid in pids if alive(pid)], [])


@test
def a_terminal_tells_all_and_only_the_supervisor_listens():
    with Processes(2, start_new_session=True) as server:
        with server.connect() as client:
            echoes(client)
            os.killpg(server.process.pid, signal.SIGHUP)
            server.tells("all processes have been exchanged")
            echoes(client)
        os.killpg(server.process.pid, signal.SIGINT)
        server.finish()
        check(not re.search("signal", "".join(server.log)), *server.log)


def fill(client):
    """Send, and never read, until nothing goes any more."""
    client.settimeout(0.2)
    try:
        while True:
            client.send(bytes(1 << 16))
    except TimeoutError:
        pass


@test
def a_second_signal_ends_all_at_once():
    with Processes(2) as server:
        caught = field(server.process.pid, "SigCgt")
        pids = server.workers()
        clients = [server.connect() for _ in range(10)]
        for client in clients:
            fill(client)
        tell(server.process)
        # They wait for clients that do not read, for seconds.
        until(lambda: field(server.process.pid, "SigCgt") != caught, "the first signal")
        check(server.process.poll() is None and server.workers(), "somebody is left")
        server.stop(status=-signal.SIGTERM)
        until(lambda: not any(map(alive, pids)), "the end of all", seconds=3)
        for client in clients:
            client.close()


@test
def a_killed_supervisor_takes_all_along():
    with Processes(3) as server:
        pids = server.workers()
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            echoes(client)
        server.process.kill()
        until(lambda: not any(map(alive, pids)), "the end of all", seconds=5)
        for client in clients:
            equal(receive_all(client), b"")
            client.close()
        # The kernel lets go of a ring's descriptors some milliseconds after its process.
        with Processes_at(server.address) as again:
            with again.connect() as client:
                echoes(client)
            again.stop()


def Processes_at(address):
    def attempt():
        try:
            return Processes(2, address=address)
        except AssertionError as error:
            check("in use" in str(error), error)
            return None
    return until(attempt, "a free port")


@test
def a_killed_supervisor_takes_those_along_that_retire_and_that_start():
    with Processes(2) as server:
        client = server.connect()
        echoes(client)
        server.exchange()
        pids = server.workers()
        check(len(pids) >= 3, "one retires")
        tell(server.process, signal.SIGHUP)
        server.process.kill()
        until(lambda: not any(map(alive, pids)), "the end of all", seconds=5)
        client.close()


# What is wrong

@test
def a_busy_port_is_status_1_and_named():
    with Processes(2) as server:
        for arguments in ((), ("--processes", "2")):
            says(run("echo", "--listen", server.address, *arguments), 1, server.address, "in use")
        server.stop()


@test
def wrong_arguments_are_status_2():
    for arguments in (("--processes", "0"), ("--processes", "many"), ("--processes", "1025"),
                      ("--processes",), ("--processes", "2", "--loops", "0"),
                      ("--retire", "5"), ("--processes", "2", "--retire", "never"),
                      ("--processes", "2", "extra")):
        says(run("echo", "--listen", LISTEN, *arguments), 2, "echo")


@test
def a_program_that_cannot_be_started_again_is_status_1_and_says_why():
    with folder() as path:
        program = copy_program(path / "whorl")
        with open(program, "rb") as file:
            os.unlink(program)
            done = run("echo", "--listen", LISTEN, "--processes", "2", pass_fds=(file.fileno(),),
                       program=f"/proc/self/fd/{file.fileno()}")
        says(done, 1, "cannot start a process: No such file", "no process can serve")
        check("listening" not in done.stderr, done.stderr)


@test
def a_variable_that_is_not_a_supervisors_is_refused():
    for value in ("", "1", "x", "1:2", "1:1:0:0:1:1:0:1000:", "1:1:0:5:1:1:0:1000",
                  "1:-1:0:0:1:1:0:1000", "1:1:0:0:99999:99999:0:1000",
                  "1:1:0:0:1:0:0:1000", "1:4294967296:0:0:1:1:0:1000", "99:1",
                  f"1:{os.getpid()}:0:0:1:1:0:1000", "1:1:0:0:1:1:0:1000" + "0" * 5000):
        done = run("echo", "--listen", LISTEN, "--processes", "1",
                   env=dict(os.environ, WHORL_SUPERVISED=value))
        says(done, 1, "cannot serve for a supervisor", "WHORL_SUPERVISED")
    # The channel must be the parent's; here it is ours, and no such thing.
    read, write = os.pipe()
    done = run("echo", "--listen", LISTEN, pass_fds=(read,), preexec_fn=lambda: os.dup2(read, 3),
               env=dict(os.environ, WHORL_SUPERVISED=f"1:{os.getpid()}:0:0:0:1:1:1000"))
    says(done, 1, "cannot serve for a supervisor")
    os.close(read)
    os.close(write)


if __name__ == "__main__":
    main()
