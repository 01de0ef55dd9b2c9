#!/usr/bin/env -S python3 -B
"""tools/gdb/whorl.py on a running server: every task is listed, and a suspended one's stack shows
the function that it is suspended in. The program goes on unharmed afterwards."""
import pathlib
import re
import resource
import shutil
import signal
import subprocess

from harness import WHORL, Server, Skip, check, echoes, equal, folder, limit, main, test

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools/gdb/whorl.py"


def gdb(process, *commands):
    if not shutil.which("gdb"):
        raise Skip("there is no gdb")
    arguments = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(["gdb", "-nx", "-batch", "-p", str(process.pid), "-x", str(SCRIPT),
                           *arguments], check=False, capture_output=True, text=True, timeout=50)
    if "ptrace: Operation not permitted" in done.stderr:
        raise Skip("nobody may attach to a process here")
    if "Python scripting is not supported" in done.stderr:
        raise Skip("this gdb has no Python")
    return done.stdout, done.stderr


def tasks_in(out):
    """(name, state and wait) of each line of `whorl tasks`."""
    return re.findall(r"^ *\d+ 0x[0-9a-f]+ (\S+) +(\w+ +[^ ,]*)", out, re.MULTILINE)


@test
def tasks_are_listed_with_what_they_wait_for():
    with Server("127.0.0.1:0", "--loops", "2") as server:
        clients = [server.connect() for _ in range(5)]
        for client in clients:
            echoes(client)
        out, err = gdb(server.process, "whorl tasks")
        check("loop 0:" in out and "loop 1:" in out, out, err)
        names = [name for name, _ in tasks_in(out)]
        equal(names.count("connection"), 5, out, err)
        equal(names.count("main"), 1, out, err)
        for name, doing in tasks_in(out):
            check(re.match(r"waiting +\S", doing), name, "does", doing, out)
            if name == "connection":
                check("recv" in doing, doing)
        check(re.search(r"connection .*serve\.c:\d+", out), out)
        for client in clients:
            echoes(client)
        server.stop()


@test
def a_suspended_task_shows_its_stack():
    with Server("127.0.0.1:0", "--loops", "1") as server:
        with server.connect() as client:
            echoes(client)
            out, err = gdb(server.process, "whorl bt connection")
            check(re.search(r"^#\d+ .*\becho \(.*echo_serve\.c:\d+", out, re.MULTILINE), out, err)
            check(re.search(r"^#\d+ .*whi_context_entry", out, re.MULTILINE), out, err)
            check(re.search(r"^#0 ", out, re.MULTILINE), out, err)
            echoes(client)
        server.stop()


@test
def all_stacks_end_where_tasks_begin_and_the_thread_keeps_its_own():
    with Server("127.0.0.1:0", "--loops", "1") as server:
        with server.connect() as client:
            echoes(client)
            out, err = gdb(server.process, "whorl bt all", "echo own\\n", "backtrace")
            stacks, _, own = out.partition("\nown")
            equal(stacks.count("whi_context_entry"), len(tasks_in(stacks)), out, err)
            check("wh_run (" in own and "main (" in own, own)
            check("corrupt" not in out, out)
            echoes(client)
        server.stop()


@test
def an_unknown_task_is_named():
    with Server("127.0.0.1:0", "--loops", "1") as server:
        err = gdb(server.process, "whorl bt nobody")[1]
        check("no task nobody" in err, err)
        server.stop()


def dump_core(server, path):
    """Kill the server; returns its core file, if this machine leaves one in `path`."""
    server.process.send_signal(signal.SIGABRT)
    server.process.communicate()
    return next((file for file in path.iterdir() if "core" in file.name), None)


@test
def a_core_file_will_do():
    if b"__asan_init" in pathlib.Path(WHORL).read_bytes():
        raise Skip("AddressSanitizer's core files are too large")
    unlimited = limit(resource.RLIMIT_CORE, resource.RLIM_INFINITY)
    with folder() as path:
        try:
            server = Server("127.0.0.1:0", "--loops", "1", cwd=path, preexec_fn=unlimited)
        except subprocess.SubprocessError as error:
            raise Skip("core files are limited here") from error
        with server, server.connect() as client:
            echoes(client)
            core = dump_core(server, path)
        if not core:
            raise Skip("core files are kept elsewhere here")
        done = subprocess.run(["gdb", "-nx", "-batch", "-x", str(SCRIPT), WHORL, str(core), "-ex",
                               "whorl bt connection"],
                              check=False, capture_output=True, text=True, timeout=50)
        check(re.search(r"^#\d+ .*\becho \(.*echo_serve\.c:\d+", done.stdout, re.MULTILINE),
              done.stdout, done.stderr)


if __name__ == "__main__":
    main()
