"""Hosts for tests: network namespaces, each with a veth pair into a bridge in one more namespace.

All of it belongs to this process: the namespaces have no names, they end with the processes in
them, and those end with us (PR_SET_PDEATHSIG), however we end.
"""
import ctypes
import os
import shutil
import signal
import subprocess
import time

from harness import Skip, check

SUBNET = "10.231.77"
START_SECONDS_MAX = 10
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ip(*words, host=None):
    command = ["nsenter", "-t", str(host.holder.pid), "-n"] if host else []
    done = subprocess.run(command + ["ip", *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, timeout=10)
    check(done.returncode == 0, "ip", *words, "failed:", done.stderr)


class Host:
    """A network namespace, kept by a process that does nothing."""

    def __init__(self, net, number):
        self.net, self.number = net, number
        self.address = f"{SUBNET}.{number}"
        self.processes = []
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "sh", "-c", f"hostname host{number}; echo; exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        check(self.holder.stdout.read(1) == b"\n", "no namespace")

    def command(self, *words):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-u", *map(str, words)]

    def start(self, *words, **options):
        process = subprocess.Popen(self.command(*words), preexec_fn=die_with_parent,
                                   start_new_session=True, **options)
        self.processes.append(process)
        return process

    def kill(self, process):
        """As if somebody pulled the plug: with all its children, which are in its session."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(timeout=10)

    def link(self, state):
        ip("link", "set", f"port{self.number}", state, host=self.net.switch)

    def end(self):
        for process in self.processes:
            self.kill(process)
        self.holder.kill()
        self.holder.wait(timeout=10)


class Net:
    """A switch and hosts on it."""

    def __init__(self, count):
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        for tool in ("unshare", "nsenter", "ip"):
            if not shutil.which(tool):
                raise Skip(f"{tool} is not installed")
        probe = subprocess.run(["unshare", "--net", "ip", "link", "add", "type", "veth"],
                               capture_output=True, text=True, check=False, timeout=10)
        if probe.returncode != 0:
            raise Skip(f"network namespaces are not permitted here: {probe.stderr.strip()}")
        self.hosts, self.switch = [], None
        try:
            self.connect(count)
        except BaseException:
            self.end()
            raise

    def connect(self, count):
        self.switch = Host(self, 254)
        ip("link", "add", "switch", "type", "bridge", host=self.switch)
        ip("link", "set", "switch", "up", host=self.switch)
        for number in range(1, count + 1):
            host = Host(self, number)
            self.hosts.append(host)
            ip("link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns",
               str(host.holder.pid), host=self.switch)
            ip("link", "set", f"port{number}", "master", "switch", "up", host=self.switch)
            ip("address", "add", f"{host.address}/24", "dev", "eth0", host=host)
            ip("link", "set", "eth0", "up", host=host)
            ip("link", "set", "lo", "up", host=host)

    def end(self):
        for host in self.hosts + ([self.switch] if self.switch else []):
            host.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def wait_for(condition, what, seconds=START_SECONDS_MAX):
    """Until `condition()` is true, but not for ever."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what} took more than {seconds} s")
