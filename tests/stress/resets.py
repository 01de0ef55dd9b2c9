#!/usr/bin/env -S python3 -B
"""Connections that end in a reset, one after the other: afterwards it is as if they had never been.

Sizes: connections=40000 threads=8 loops=1
"""
from stress import Server, run_client, size, told
from harness import check, equal, echoes, main, test

CONNECTIONS = size("connections", 40000)
THREADS = size("threads", 8)
LOOPS = size("loops", 1)
KINDS = 4
RESIDENT_KIB_MORE = 32 * 1024


def storm(service, connections, options):
    with Server(f"loops={LOOPS}", *options) as server:
        idle = server.idle()
        done = run_client("resets", server.port(service), connections, THREADS,
                          int(service == "echo"))
        server.wait_for_idle(idle)
        before = server.resident_kib()
        again = run_client("resets", server.port(service), connections, THREADS,
                           int(service == "echo"))
        server.wait_for_idle(idle)
        grown = server.resident_kib() - before
        with server.connect("echo") as client:
            echoes(client, bytes(10000))
        server.wait_for_idle(idle)
        counters = server.stop()
    told(" ".join(["resets,", service, *options]), server.greeting["backend"],
         connections=connections, seconds=[done["seconds"], again["seconds"]],
         grown_kib=grown, accept_backoffs=counters["accept_backoffs"])
    if service == "echo":
        equal(done["echoed"], connections // KINDS)
    check(grown <= RESIDENT_KIB_MORE, "a second storm made the server grow by", grown, "KiB")


@test
def nothing_is_left_of_an_echo_server_s_connections():
    storm("echo", CONNECTIONS, [])


@test
def nor_with_hardly_any_buffers():
    storm("echo", CONNECTIONS // 4, ["buf_count=4"])


@test
def nor_of_connections_with_a_deadline():
    storm("frames", CONNECTIONS // 4, ["idle_ms=60000"])


@test
def nor_of_readers_of_a_stream():
    storm("stream", CONNECTIONS // 4, [])


main()
