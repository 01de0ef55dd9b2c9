"""What the scripts in this folder share: running the command, and counting.

A script defines functions decorated with @test, and ends with main(). It is started with the build
folder as its argument; further arguments select tests by name. Each test has a time limit.
"""
import contextlib
import functools
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

# For what hangs. A machine that does other things as well may take ten times as long as usual; what
# has to be done at once says so itself.
TEST_SECONDS_MAX = 240
COMMAND_SECONDS_MAX = 200

BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/release").resolve()
WHORL = str(BUILD / "tools/whorl")


@functools.cache
def sanitizers():
    """Those of the build, as it was configured: "" if there are none."""
    cache = BUILD / "CMakeCache.txt"
    text = cache.read_text(encoding="utf-8") if cache.exists() else ""
    found = re.search(r"^WHORL_SANITIZE:STRING=(.*)$", text, re.MULTILINE)
    return found.group(1) if found else ""


def under_tsan():
    """Whether the build is ThreadSanitizer's, which takes at most 8,128 tasks and threads."""
    return sanitizers() == "thread"


# Sizes of inputs are divided by it: sanitizers take longer, and what they look for shows in little.
SLOW = 8 if under_tsan() else 4 if sanitizers() else 1

tests = []


class Skip(Exception):
    """This machine cannot run the test; says why."""


def test(function):
    tests.append(function)
    return function


def test_without_threads(function):
    """A test of what no thread has a part in, or that others show as well: ThreadSanitizer, which
    takes ten times as long, has nothing to find in it, and leaves it out."""
    return function if under_tsan() else test(function)


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(part) for part in what))


def equal(value, expected, *what):
    check(value == expected, *what, f"is {value!r}, not {expected!r}")


def run(*arguments, **options):
    """Run the command to its end; standard output and error are captured as text."""
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    options.setdefault("text", True)
    options.setdefault("timeout", COMMAND_SECONDS_MAX)
    return subprocess.run([options.pop("program", WHORL), *map(str, arguments)], check=False,
                          **options)


def says(done, status, *words):
    """The command ended with `status` and a message of one line or more with all `words`."""
    equal(done.returncode, status, "exit status;", done.stderr, "status")
    check(done.stderr.startswith("whorl: "), "not a message of the command:", done.stderr)
    for word in words:
        check(re.search(word, done.stderr, re.IGNORECASE), f"no {word!r} in:", done.stderr)


def sleeps(pid):
    """Whether every thread of a process waits for something; so does a process that has ended."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
                if file.read().rsplit(b")", 1)[1].split()[0] not in b"SZX":
                    return False
    except (FileNotFoundError, ProcessLookupError):
        pass
    return True


def come_to_rest(process, seconds):
    """Until it has slept for some milliseconds, or is busy for as long as it may."""
    end, seen = time.monotonic() + seconds, 0
    while seen < 4 and time.monotonic() < end:
        time.sleep(0.002)
        seen = seen + 1 if sleeps(process.pid) else 0


def tell(process, number=signal.SIGTERM):
    """Send a process a signal that it handles."""
    # ThreadSanitizer keeps a signal with the task it came to until that task next calls the C
    # library, which may be never: let all come to rest first, and then end the loop's wait.
    if under_tsan():
        come_to_rest(process, 0.2)
    process.send_signal(number)
    if under_tsan():
        come_to_rest(process, 0.1)
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)


class Server:
    """A running `whorl echo`."""

    def __init__(self, address="127.0.0.1:0", *arguments, **options):
        program = options.pop("program", WHORL)
        self.process = subprocess.Popen([program, "echo", "--listen", address, *arguments],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, **options)
        # What it says before is about the backend.
        self.said = []
        self.greeting = self.process.stderr.readline()
        while "listening on" not in self.greeting and self.greeting.startswith("whorl: epoll"):
            self.said.append(self.greeting)
            self.greeting = self.process.stderr.readline()
        match = re.search(r"listening on (\S+)", self.greeting)
        if not match:
            self.process.wait()
            raise AssertionError("no server: " + self.greeting + self.process.stderr.read())
        self.address = match.group(1)

    def connect(self):
        if self.address.startswith("unix:"):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            path = self.address[len("unix:"):]
            client.settimeout(COMMAND_SECONDS_MAX)
            client.connect("\0" + path[1:] if path.startswith("@") else path)
            return client
        host, port = self.address.rsplit(":", 1)
        return socket.create_connection((host.strip("[]"), int(port)), COMMAND_SECONDS_MAX)

    def stop(self, status=0, number=signal.SIGTERM):
        """End it with a signal; returns its standard output."""
        tell(self.process, number)
        return self.finish(status)

    def finish(self, status=0):
        """Wait for its end; returns its standard output."""
        out, err = self.process.communicate(timeout=COMMAND_SECONDS_MAX)
        equal(self.process.returncode, status, "exit status;", err, "status")
        return out

    def cpu_ticks(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def receive(client, count):
    """Exactly `count` bytes, or what came before the end."""
    data = bytearray()
    while len(data) < count:
        piece = client.recv(count - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def receive_all(client):
    data = bytearray()
    while piece := client.recv(1 << 16):
        data += piece
    return bytes(data)


def echoes(client, data=b"hello"):
    client.sendall(data)
    equal(receive(client, len(data)), data, "the echo")


def limit(name, value):
    """For preexec_fn: set a limit of the child."""
    def apply():
        resource.setrlimit(name, (value, value))
    return apply


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory(prefix="whorl-test-") as path:
        yield pathlib.Path(path)


def timed_out(*_):
    raise AssertionError(f"took more than {TEST_SECONDS_MAX} seconds")


def run_one(function):
    """'passed', 'failed' or 'skipped'; says which."""
    signal.alarm(TEST_SECONDS_MAX)
    try:
        function()
    except Skip as skip:
        print(f"skipped  {function.__name__}: {skip}", flush=True)
        return "skipped"
    except Exception:
        print(f"FAILED   {function.__name__}\n{traceback.format_exc()}", flush=True)
        return "failed"
    finally:
        signal.alarm(0)
    print(f"passed   {function.__name__}", flush=True)
    return "passed"


def main():
    if not os.access(WHORL, os.X_OK):
        print(f"there is no {WHORL}: build it first\n0 passed, 1 failed")
        sys.exit(1)
    signal.signal(signal.SIGALRM, timed_out)
    names = sys.argv[2:]
    results = [run_one(function) for function in tests if not names or function.__name__ in names]
    count = {kind: results.count(kind) for kind in ("passed", "failed", "skipped")}
    more = f", {count['skipped']} skipped" if count["skipped"] else ""
    print(f"{count['passed']} passed, {count['failed']} failed{more}")
    if count["failed"]:
        sys.exit(1)
    sys.exit(0 if count["passed"] else 77)
