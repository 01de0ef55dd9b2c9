"""What the scripts in this folder share, besides tests/integration/harness.py.

A script is started with the build folder as its first argument. Further arguments NAME=VALUE set
the sizes that it asks for with size(); the others select tests by name. WHORL_BACKEND says which
backend the server uses. What is measured is printed; with keep=RUN it is also added to results/,
for tools/plot. RUN is the time of the run, which all scripts and backends of one share:

    run=$(date -u +%FT%TZ)
    for backend in uring epoll; do
        WHORL_BACKEND=$backend tests/stress/resets.py build/release connections=200000 keep=$run
    done
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SIZES = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
sys.argv = [argument for argument in sys.argv if "=" not in argument]

import harness  # noqa: E402  (it reads sys.argv)
from harness import check  # noqa: E402

harness.TEST_SECONDS_MAX = 270
PROGRAMS = harness.BUILD / "tests"


def size(name, default):
    """The number that the command line gives for `name`, or `default`."""
    return type(default)(SIZES.get(name, default))


def first_line_with(path, word):
    return next((line.split(":", 1)[1].strip() for line in open(path) if line.startswith(word)), "")


def git(*arguments):
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def provenance():
    """As bench/run writes it."""
    return {
        "bench": "stress",
        "run": SIZES["keep"],
        "machine": {
            "cpu": first_line_with("/proc/cpuinfo", "model name"),
            "cores": len(os.sched_getaffinity(0)),
            "memory_kib": first_line_with("/proc/meminfo", "MemTotal").removesuffix(" kB"),
            "hypervisor": "hypervisor" in first_line_with("/proc/cpuinfo", "flags").split(),
        },
        "kernel": os.uname().release,
        "commit": git("rev-parse", "--short", "HEAD") or "none",
        "modified": bool(git("status", "--porcelain", "--", "engine", "bench", "tools")),
        "command": " ".join(["tests/stress/" + pathlib.Path(sys.argv[0]).name, "build/release",
                             *("%s=%s" % pair for pair in SIZES.items() if pair[0] != "keep")]),
    }


def told(variant, backend, **figures):
    """Say what was measured, and keep it if the command line says so."""
    record = {"variant": variant, "backend": backend, "figures": figures}
    print("measured " + json.dumps(record), flush=True)
    if "keep" in SIZES:
        path = ROOT / "results" / ("stress-%s.jsonl" % SIZES["keep"][:10])
        with path.open("a") as file:
            file.write(json.dumps({**provenance(), **record}) + "\n")


def start(program, *arguments, **options):
    """A program of this folder, with its output captured."""
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    path = options.pop("path", PROGRAMS / ("stress_" + program))
    return subprocess.Popen([path, *map(str, arguments)], text=True, **options)


def run_client(program, *arguments):
    """Run it to its end; returns what it printed, read as JSON."""
    with start(program, *arguments) as client:
        out, err = client.communicate()
    check(client.returncode == 0, program, *arguments, "ended with", client.returncode, err)
    return json.loads(out)


class Server:
    """A running stress_server."""

    def __init__(self, *arguments, **options):
        # What AddressSanitizer keeps back for a while would look like a leak.
        options["env"] = {**os.environ, "ASAN_OPTIONS": ":".join([
            os.environ.get("ASAN_OPTIONS", ""), "quarantine_size_mb=1",
            "thread_local_quarantine_size_kb=16"])}
        self.process = start("server", *arguments, stdin=subprocess.PIPE, **options)
        self.errors = []
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("no server: " + self.process.communicate()[1])
        self.greeting = json.loads(line)
        # What it says on standard error must not stop it.
        self.reader = threading.Thread(target=self.read_errors, daemon=True)
        self.reader.start()

    def read_errors(self):
        self.errors.extend(self.process.stderr)

    def port(self, service):
        return self.greeting[service]

    def connect(self, service="echo", receive_buffer=0):
        """A plain socket."""
        client = harness.socket.socket()
        client.settimeout(harness.COMMAND_SECONDS_MAX)
        if receive_buffer:
            client.setsockopt(harness.socket.SOL_SOCKET, harness.socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", self.port(service)))
        return client

    def counters(self):
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self):
        fields = open(f"/proc/{self.process.pid}/status").read().split()
        return int(fields[fields.index("VmRSS:") + 1])

    def cpu_s(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def idle(self):
        """What must be the same whenever nobody is connected, once it has come to rest."""
        before, now = None, self.at_rest()
        while now != before:
            time.sleep(0.02)
            before, now = now, self.at_rest()
        return now

    def at_rest(self):
        counters = self.counters()
        names = ("tasks", "ops", "lent", "parked", "connections")
        return {**{name: counters[name] for name in names}, "files": self.files()}

    def wait_for_idle(self, expected):
        """The kernel may take a moment for the last connections."""
        deadline = time.monotonic() + 10
        while (now := self.at_rest()) != expected and time.monotonic() < deadline:
            time.sleep(0.05)
        harness.equal(now, expected, "after the last connection the server")

    def stop(self, status=0):
        """Through the end of its input; says if it met errors that no header names."""
        counters = self.counters()
        self.process.stdin.close()
        self.process.wait(harness.COMMAND_SECONDS_MAX)
        self.reader.join()
        harness.equal(self.process.returncode, status, "exit status;", *self.errors, "status")
        harness.equal((counters["surprises"], counters["first_surprise"]), (0, ""),
                      "errors that are not documented")
        return counters

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Watch:
    """Samples a server's resident size and descriptors while it works."""

    def __init__(self, server, every_s=0.1):
        self.server, self.every_s = server, every_s
        self.resident_kib, self.files = [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.over.wait(self.every_s):
            self.resident_kib.append(self.server.resident_kib())
            self.files.append(self.server.files())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def thirds(samples):
    """The medians of the first and the last third."""
    third = len(samples) // 3
    check(third > 0, "too few samples:", len(samples))
    return statistics.median(samples[:third]), statistics.median(samples[-third:])
