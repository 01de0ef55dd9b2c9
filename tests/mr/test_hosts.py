#!/usr/bin/env python3
"""Many hosts: a Dask scheduler, two workers and the one who wants to know, each in a network
namespace of its own. Whatever dies meanwhile, the result is byte for byte that of one process."""
import contextlib
import os
import pathlib
import random
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from harness import WHORL, Skip, check, equal, folder, main, run, test
from hosts import Net, wait_for

PYTHON = "/usr/bin/python3"
PORT = 8786
TASKS = 60
TASK_BYTES = 50_000
RUN_SECONDS_MAX = 45

# So that a silent host is noticed while a test has patience: 30 s and 5 min are Dask's own.
SETTINGS = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "3s",
    "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "10",
}


def corpus():
    """Words with a few frequent and many rare ones; not the same in any two places."""
    words, size, random_numbers = [], 0, random.Random(1)
    while size < TASKS * TASK_BYTES:
        words.append(f"word{int(1 / (1 - random_numbers.random())):03d}\n")
        size += len(words[-1])
    return "".join(words)


TEXT = corpus()


class Cluster:
    """Hosts 1: the scheduler; 2 and 3: workers; 4: the user."""

    def __init__(self, net, scratch):
        self.net, self.scratch = net, scratch
        self.scheduler_host, self.first, self.second, self.user = net.hosts
        self.environment = os.environ | SETTINGS
        self.address = f"{self.scheduler_host.address}:{PORT}"
        self.log = open(scratch / "dask.log", "ab")

    def start(self, host, program, *arguments):
        return host.start(PYTHON, "-m", f"distributed.cli.dask_{program}", *arguments,
                          env=self.environment, cwd=self.scratch, stdin=subprocess.DEVNULL,
                          stdout=self.log, stderr=self.log)

    def start_scheduler(self):
        self.scheduler = self.start(self.scheduler_host, "scheduler", "--host",
                                    self.scheduler_host.address, "--port", PORT, "--no-dashboard",
                                    "--no-show")

    def start_worker(self, host):
        return self.start(host, "worker", self.address, "--host", host.address, "--nthreads", 1,
                          "--no-nanny", "--no-dashboard", "--local-directory",
                          self.scratch / f"worker{host.number}")

    def run(self, *arguments):
        return self.user.start(WHORL, "mr", "run", "--on", f"dask://{self.address}", *arguments,
                               env=self.environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextlib.contextmanager
def cluster(workers=True):
    probe = subprocess.run([PYTHON, "-c", "import distributed"], capture_output=True, check=False)
    if probe.returncode != 0:
        raise Skip(f"{PYTHON} has no distributed; run tools/setup")
    with folder() as scratch, Net(4) as net:
        (scratch / "text").write_text(TEXT, encoding="ascii")
        hosts = Cluster(net, scratch)
        hosts.start_scheduler()
        hosts.workers = [hosts.start_worker(host) for host in (hosts.first, hosts.second)
                         if workers]
        yield hosts


def start_run(hosts):
    directory = hosts.scratch / "run"
    return directory, hosts.run("--dir", directory, "--split-bytes", TASK_BYTES, "--parts", 4,
                                "--keep", "wordcount", hosts.scratch / "text")


def maps_done(directory):
    return len(list(directory.glob("map/*/done")))


def expected(hosts):
    done = run("wordcount", hosts.scratch / "text")
    equal(done.returncode, 0, done.stderr)
    return done.stdout


def finish(process, status=0):
    """Its output and messages, once it has ended."""
    out, err = process.communicate(timeout=RUN_SECONDS_MAX)
    equal(process.returncode, status, err.decode(), "status")
    return out.decode(), err.decode()


def attempts_made(directory):
    return len(list(directory.glob("map/*/a*-p0000")))


@test
def two_workers_count_what_one_process_counts():
    with cluster() as hosts:
        directory, process = start_run(hosts)
        out, err = finish(process)
        check(out == expected(hosts), "another result")
        check(maps_done(directory) >= TASKS, "fewer tasks than planned")
        check("does not answer" not in err and "failed" not in err, err)


@test
def a_host_that_falls_silent_in_the_middle_is_done_without():
    with cluster() as hosts:
        directory, process = start_run(hosts)
        wait_for(lambda: maps_done(directory) >= 10, "the first map tasks", 25)
        hosts.first.link("down")
        hosts.first.kill(hosts.workers[0])
        silent = time.monotonic()
        check(process.poll() is None, "ended too early to be of use")
        out, _ = finish(process)
        check(out == expected(hosts), "another result")
        print(f"         done {time.monotonic() - silent:.1f} s after the host fell silent",
              flush=True)


@test
def a_scheduler_that_dies_is_named_and_resume_finishes():
    with cluster() as hosts:
        directory, process = start_run(hosts)
        wait_for(lambda: maps_done(directory) >= 10, "the first map tasks", 25)
        hosts.scheduler_host.kill(hosts.scheduler)
        # What a worker has in its queue, it would still do.
        for worker, host in zip(hosts.workers, (hosts.first, hosts.second)):
            host.kill(worker)
        out, err = finish(process, 1)
        equal(out, "", "output of a run that failed")
        check(re.search(rf"Dask scheduler at {hosts.address} is gone", err), err)
        check("--resume" in err, err)
        before = maps_done(directory)
        check(before < TASKS, "all was done already")
        hosts.start_scheduler()
        hosts.start_worker(hosts.first)
        attempts = attempts_made(directory)
        out, _ = finish(hosts.run("--resume", "--keep", "--dir", directory))
        check(out == expected(hosts), "another result")
        again = attempts_made(directory) - attempts
        check(again <= TASKS - before + 2, again, "map tasks were run, of", TASKS - before)


@test
def a_damaged_part_is_found_and_made_again():
    with cluster() as hosts:
        directory, process = start_run(hosts)
        finish(process)
        for marker in directory.glob("reduce/*/done"):
            marker.unlink()
        part = next(directory.glob("map/000007/a*-p0002"))
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 0x10
        part.write_bytes(data)
        out, err = finish(hosts.run("--resume", "--keep", "--dir", directory))
        check("map task 7 has to be run again" in err and "checksum" in err, err)
        check(out == expected(hosts), "another result")


@test
def a_worker_that_does_not_share_the_directory_is_named():
    with cluster(workers=False) as hosts:
        private = hosts.scratch / "run"
        private.mkdir()
        # A mount namespace in which something else lies at that place.
        hosts.second.start("unshare", "--mount", "sh", "-c",
                           f"mount -t tmpfs none {private} && exec {PYTHON} -m "
                           f"distributed.cli.dask_worker {hosts.address} --no-nanny "
                           f"--no-dashboard --nthreads 1 --host {hosts.second.address}",
                           env=hosts.environment, stdin=subprocess.DEVNULL, stdout=hosts.log,
                           stderr=hosts.log, cwd=hosts.scratch)
        _, process = start_run(hosts)
        out, err = finish(process, 1)
        equal(out, "")
        check("on host3 does not share" in err, err)


main()
