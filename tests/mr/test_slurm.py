#!/usr/bin/env python3
"""Slurm's side: job arrays, dependencies, and tasks that Slurm loses. With a stand-in for Slurm
(see sbatch beside this), which runs the arrays' scripts as they are, and with Slurm itself, on one
host that is a network namespace, where it is installed."""
import os
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
from harness import BUILD, WHORL, Skip, check, equal, folder, main, run, says, test
from hosts import Net, wait_for

WORDS = b"".join(b"word%d " % (n * n % 1009) for n in range(20_000))


def world(path):
    """An environment in which there is Slurm, and something to count."""
    (path / "bin").mkdir()
    (path / "slurm").mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        (path / "bin" / name).symlink_to(HERE / "sbatch")
    (path / "text").write_bytes(WORDS)
    return os.environ | {"PATH": f"{path / 'bin'}:{os.environ['PATH']}",
                         "FAKE_SLURM": str(path / "slurm")}


def expected(path):
    done = run("wordcount", path / "text")
    equal(done.returncode, 0, done.stderr)
    return done.stdout


@test
def arrays_count_what_one_process_counts():
    with folder() as path:
        done = run("mr", "run", "--on", "slurm", "--dir", path / "run", "--split-bytes", 10_000,
                   "--parts", 3, "wordcount", path / "text", env=world(path))
        equal(done.returncode, 0, done.stderr)
        check(done.stdout == expected(path), "another result")
        jobs = [job.read_text() for job in sorted((path / "slurm").glob("*.job"))]
        equal(len(jobs), 2, jobs)
        check("--array=0-2" in jobs[1] and "--job-name=whorl-reduce" in jobs[1], jobs)


@test
def a_task_that_slurm_loses_is_tried_again():
    with folder() as path:
        environment = world(path) | {"FAKE_SLURM_LOSES": str(path / "lose")}
        (path / "lose").write_bytes(b"")
        done = run("mr", "run", "--on", "slurm", "--dir", path / "run", "--split-bytes", 30_000,
                   "--parts", 2, "wordcount", path / "text", env=environment)
        equal(done.returncode, 0, done.stderr)
        check("was lost" in done.stderr and "not in Slurm's queue" in done.stderr, done.stderr)
        check(done.stdout == expected(path), "another result")


@test
def a_chain_of_dependent_arrays_needs_nobody_to_wait():
    with folder() as path:
        environment = world(path)
        equal(run("mr", "plan", "--dir", path / "run", "--split-bytes", 10_000, "--parts", 3,
                  "wordcount", path / "text").returncode, 0)
        done = subprocess.run([BUILD / "tools" / "whorl-slurm", "--whorl", WHORL, "--dir",
                               path / "run", "--chain", path / "out"], env=environment,
                              capture_output=True, text=True, check=False, timeout=30)
        equal(done.returncode, 0, done.stderr)
        equal(done.stdout, "map 1\nreduce 2\nmerge 3\n")
        end = time.monotonic() + 30
        while not (path / "slurm" / "3.end").exists() and time.monotonic() < end:
            time.sleep(0.02)
        check((path / "out").read_text() == expected(path), "another result")
        check("--dependency=afterok:2" in (path / "slurm" / "3.job").read_text(), "no dependency")


@test
def a_machine_without_slurm_is_told():
    with folder() as path:
        (path / "text").write_bytes(WORDS)
        (path / "bin").mkdir()
        (path / "bin" / "python3").symlink_to("/usr/bin/python3")
        done = run("mr", "run", "--on", "slurm", "--dir", path / "run", "wordcount",
                   path / "text", env={"PATH": str(path / "bin")})
        says(done, 1, "cannot run sbatch", "is Slurm installed")


CONFIGURATION = """\
ClusterName=test
SlurmctldHost=host1({address})
AuthInfo=socket={path}/munge/socket
AuthType=auth/munge
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={path}/state
SlurmdSpoolDir={path}/spool
SlurmctldPidFile={path}/slurmctld.pid
SlurmdPidFile={path}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MailProg=/bin/true
NodeName=host1 NodeAddr={address} CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""

DAEMONS = """\
munged --foreground --force --key-file=munge/key --socket=munge/socket --pid-file=munge/pid \\
    --log-file=munge/log --seed-file=munge/seed &
while [ ! -S munge/socket ]; do sleep 0.05; done
slurmctld -D &
exec slurmd -D -N host1
"""


def start_slurm(host, path):
    """In a process namespace of their own: all end with the first one."""
    for name in ("munge", "state", "spool"):
        (path / name).mkdir(mode=0o700)
    (path / "munge" / "key").write_bytes(os.urandom(1024))
    (path / "munge" / "key").chmod(0o400)
    (path / "slurm.conf").write_text(CONFIGURATION.format(address=host.address, path=path))
    environment = os.environ | {"SLURM_CONF": str(path / "slurm.conf")}
    log = open(path / "log", "wb")
    host.start("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
               DAEMONS, env=environment, cwd=path, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_idle():
        done = subprocess.run(host.command("sinfo", "--noheader", "--format=%T"), env=environment,
                              capture_output=True, text=True, check=False, timeout=30)
        return done.stdout == "idle\n"

    wait_for(is_idle, "Slurm's start", 30)
    return environment


@test
def slurm_itself_counts_what_one_process_counts():
    for tool in ("slurmctld", "slurmd", "sbatch", "munged"):
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed; run tools/setup")
    with folder() as path, Net(1) as net:
        (path / "text").write_bytes(WORDS)
        environment = start_slurm(net.hosts[0], path)
        process = net.hosts[0].start(
            WHORL, "mr", "run", "--on", "slurm", "--dir", path / "run", "--split-bytes", 60_000,
            "--parts", 2, "wordcount", path / "text", env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=45)
        equal(process.returncode, 0, err)
        check(out == expected(path), "another result")


main()
