#!/usr/bin/env -S python3 -B
"""Machines that lack something: descriptors, locked memory, io_uring, the right to a port."""
import ctypes
import errno
import json
import os
import resource
import shutil
import struct
import time

from harness import (Server, Skip, WHORL, check, echoes, equal, folder, limit, main, receive, run,
                     says, tell, test)

NOBODY = 65534
KIB = 1024

# linux/seccomp.h, linux/filter.h; io_uring's numbers are the same on every architecture.
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7fff0000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
IO_URING_SETUP = 425


def refuse(number, error):
    """For preexec_fn: the kernel answers the system call `number` with `error`."""
    steps = [(LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, number),
             (RETURN, 0, 0, SECCOMP_RET_ERRNO | error), (RETURN, 0, 0, SECCOMP_RET_ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)

    def apply():
        assert code
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
                libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp")
    return apply


def as_nobody(*more):
    """For preexec_fn: without root's rights, and then whatever else."""
    def apply():
        for step in more:
            step()
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    return apply


def public_copy(path):
    """The command where everybody may run it."""
    os.chmod(path, 0o755)
    return shutil.copy2(WHORL, path / "whorl")


def needs_uring_as_default():
    if os.environ.get("WHORL_BACKEND", "uring") != "uring":
        raise Skip("another backend is asked for, and this is about io_uring")


# io_uring refused, and asked for

@test
def a_kernel_without_io_uring_is_status_3_with_the_cure():
    for arguments in (["echo", "--listen", "127.0.0.1:0"], ["load", "--connect", "127.0.0.1:1"],
                      ["wordcount", "/etc/passwd"]):
        done = run(*arguments, "--backend", "uring",
                   preexec_fn=refuse(IO_URING_SETUP, errno.ENOSYS))
        says(done, 3, "hides io_uring", "seccomp", "allow io_uring_setup")
        equal(done.stdout, "")
        equal(done.stderr.count("\n"), 1, "lines")


@test
def forbidden_io_uring_is_status_3_with_the_cure():
    for arguments in (["echo", "--listen", "127.0.0.1:0"], ["wordcount", "/etc/passwd"]):
        done = run(*arguments, "--backend", "uring",
                   preexec_fn=refuse(IO_URING_SETUP, errno.EPERM))
        says(done, 3, "forbids io_uring", "seccomp", "allows io_uring_setup")


@test
def the_doctor_says_so_too():
    needs_uring_as_default()
    for error in (errno.ENOSYS, errno.EPERM):
        done = run("doctor", preexec_fn=refuse(IO_URING_SETUP, error))
        equal(done.returncode, 0, done.stdout, done.stderr)
        check("warn  backend" in done.stdout and "seccomp" in done.stdout, done.stdout)
        done = run("doctor", "--json", preexec_fn=refuse(IO_URING_SETUP, error))
        equal(done.returncode, 0)
        json.loads(done.stdout)


# Descriptors

@test
def with_32_descriptors_clients_wait_and_are_served():
    with Server("127.0.0.1:0", "--loops", "1", "--stats",
                preexec_fn=limit(resource.RLIMIT_NOFILE, 32)) as server:
        clients = [server.connect() for _ in range(100)]
        for client in clients:
            client.sendall(b"ping")
        # Some are served, the rest is in the backlog.
        equal(receive(clients[0], 4), b"ping")
        ticks = server.cpu_ticks()
        time.sleep(1)
        spent = server.cpu_ticks() - ticks
        check(spent <= 10, "waiting for descriptors took", spent, "ticks of CPU time in a second")
        # Whoever leaves makes room: in the order of connecting, all get their turn.
        for client in clients:
            if client is not clients[0]:
                equal(receive(client, 4), b"ping")
            client.close()
        with server.connect() as client:
            echoes(client)
        equal(json.loads(server.stop())["connections"], 101)


@test
def with_too_few_descriptors_for_a_ring_it_says_so():
    # With 3 it could not even load its libraries.
    done = run("echo", "--listen", "127.0.0.1:0", "--loops", "1",
               preexec_fn=limit(resource.RLIMIT_NOFILE, 4))
    says(done, 3, "descriptor", "ulimit -n")


# Locked memory

@test
def with_64_kib_of_locked_memory_it_works_or_says_what_to_do():
    with folder() as path:
        program = public_copy(path)
        options = {"program": program, "cwd": "/", "preexec_fn": as_nobody(
            limit(resource.RLIMIT_MEMLOCK, 64 * KIB))}
        try:
            server = Server("127.0.0.1:0", "--loops", "1", "--stats", **options)
        except AssertionError:
            says(run("echo", "--listen", "127.0.0.1:0", "--loops", "1", **options), 3, "ulimit -l")
            return
        with server:
            clients = [server.connect() for _ in range(100)]
            for client in clients:
                echoes(client, b"x" * 1000)
            for client in clients:
                client.close()
            equal(json.loads(server.stop())["errors"], 0)


def answer(client):
    try:
        return receive(client, 5)
    except ConnectionError:
        return b""


@test
def with_less_it_says_so_once():
    if os.geteuid() != 0:
        raise Skip("takes root, to become a user without rights")
    for kib in (8, 16, 24, 32, 48):
        with folder() as path:
            options = {"program": public_copy(path), "cwd": "/", "preexec_fn": as_nobody(
                limit(resource.RLIMIT_MEMLOCK, kib * KIB))}
            try:
                server = Server("127.0.0.1:0", "--loops", "1", **options)
            except AssertionError as error:
                check("ulimit -l" in str(error), error)
                continue
            with server:
                clients = [server.connect() for _ in range(3)]
                for client in clients:
                    client.sendall(b"hello")
                served = [answer(client) for client in clients]
                tell(server.process)
                err = server.process.communicate()[1]
                check(served == [b"hello"] * 3 or err.count("ulimit -l") == 1, kib, served, err)


@test
def without_any_locked_memory_it_says_what_to_do():
    needs_uring_as_default()
    if os.geteuid() == 0:
        with folder() as path:
            done = run("echo", "--listen", "127.0.0.1:0", "--loops", "1", cwd="/",
                       program=public_copy(path), preexec_fn=as_nobody(
                           limit(resource.RLIMIT_MEMLOCK, 0)))
    else:
        done = run("echo", "--listen", "127.0.0.1:0", "--loops", "1",
                   preexec_fn=limit(resource.RLIMIT_MEMLOCK, 0))
    says(done, 3, "memory", "ulimit -l")


# Ports below 1024

def unprivileged_from():
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        return int(file.read())


@test
def a_privileged_port_is_status_1_with_the_cure():
    if unprivileged_from() <= 1:
        raise Skip("every port is free for everybody here")
    with folder() as path:
        done = run("echo", "--listen", "127.0.0.1:1", program=public_copy(path), cwd="/",
                   preexec_fn=as_nobody())
        says(done, 1, "127.0.0.1:1", "permission denied", "1024", "root")


@test
def a_folder_that_cannot_be_written_is_status_1_with_the_cure():
    with folder() as path:
        program = public_copy(path)
        done = run("echo", "--listen", f"unix:{path}/s", program=program, cwd="/",
                   preexec_fn=as_nobody())
        if os.geteuid() != 0:
            raise Skip("there is only one user")
        says(done, 1, "permission denied", "folder")


if __name__ == "__main__":
    main()
