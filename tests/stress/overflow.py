#!/usr/bin/env -S python3 -B
"""A task of a busy server overflows its stack: the process ends, and says whose fault it was.

Sizes: connections=100
"""
import os
import re

from stress import Server, size
from harness import check, echoes, main, receive, test

CONNECTIONS = size("connections", 100)


def overflow(service, *options):
    with Server(*options) as server:
        clients = [server.connect() for _ in range(CONNECTIONS)]
        for i, client in enumerate(clients):
            echoes(client, b"%4d" % i)
        victim = server.connect(service)
        status = server.process.wait(20)
        server.reader.join(20)
        said = "".join(server.errors)
        check(status != 0, "it ended with status 0")
        match = re.search(r"whorl: task '(\w+)' overflowed its stack of (\d+) bytes "
                          r"\(spawned at (\S+):(\d+)\)", said)
        check(match, "no report in:", said)
        check(match.group(1) == "connection", "the wrong task:", said)
        check(os.path.basename(match.group(3)) == "serve.c", "spawned elsewhere:", said)
        check(said.count("overflowed") == 1, "more than one report:", said)
        # Nothing wrong has gone out to the others: what they get is an end.
        for client in clients + [victim]:
            try:
                check(receive(client, 1) == b"", "bytes from a dying server")
            except ConnectionResetError:
                pass
            client.close()
        return int(match.group(2))


@test
def small_frames():
    check(overflow("overflow") == 65536)


@test
def one_frame_larger_than_the_stack():
    overflow("vast")


@test
def on_any_loop():
    # Which of the two it hits, the kernel decides.
    for _ in range(4):
        overflow("overflow", "loops=2")


@test
def a_stack_of_another_size():
    check(overflow("overflow", "stack_bytes=32768") == 32768)


main()
