#!/usr/bin/env -S python3 -B
"""Peers that do not read, against a server that sends as fast as it can.

Sizes: readers=500 writers=60 seconds=2 resident_mib=48
"""
import time

from stress import Server, size, told
from harness import check, echoes, equal, main, test

READERS = size("readers", 500)
WRITERS = size("writers", 60)
SECONDS = size("seconds", 2)
RESIDENT_MIB = size("resident_mib", 48)
HARM_MAX = 10       # by how much fewer echoes an honest connection may get beside them


def echo_rate(client, seconds):
    """How many messages a second come back."""
    start, count = time.monotonic(), 0
    while (now := time.monotonic()) < start + seconds:
        echoes(client, b"%1000d" % count)
        count += 1
    return count / (now - start)


def idle_cpu_s(server):
    """CPU seconds that it uses in a second in which nothing can happen."""
    before = server.cpu_s()
    time.sleep(1)
    return server.cpu_s() - before


def judge(name, server, clients, alone, before):
    with server.connect() as honest:
        beside = echo_rate(honest, SECONDS)
    grown = server.resident_kib() - before
    used = idle_cpu_s(server)
    counters = server.counters()
    told("slow readers, " + name, server.greeting["backend"], readers=len(clients),
         grown_kib=grown, echoes_alone=round(alone), echoes_beside=round(beside),
         cpu_when_stuck=used, lent=counters["lent"], exhausted=counters["bufs_exhausted"])
    check(grown <= RESIDENT_MIB * 1024, "the server has grown by", grown, "KiB")
    check(beside * HARM_MAX >= alone, "an honest connection got", beside, "echoes a second, alone",
          alone)
    check(used < 0.3, "the server spins:", used, "CPU seconds in one")


def wait_until_stuck(progress):
    """Until nothing moves any more."""
    last, still = None, 0
    deadline = time.monotonic() + 60
    while still < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
        now = progress()
        still = still + 1 if now == last else 0
        last = now
    check(still >= 5, "it never came to rest")


def write_until_stuck(clients):
    """Until no socket has taken a byte for a while: some megabytes each."""
    for client in clients:
        client.setblocking(False)
    still = 0
    deadline = time.monotonic() + 60
    while still < 10 and time.monotonic() < deadline:
        still += 1
        for client in clients:
            try:
                while client.send(bytes(65536)):
                    still = 0
            except BlockingIOError:
                pass
        time.sleep(0.02)
    check(still == 10, "the server takes more than anybody reads")


def measured_alone(server):
    with server.connect() as honest:
        return echo_rate(honest, 1)


@test
def a_writer_a_connection_takes_no_memory_of_ours():
    with Server() as server:
        idle = server.idle()
        alone = measured_alone(server)
        before = server.resident_kib()
        clients = [server.connect("stream", receive_buffer=4096) for _ in range(READERS)]
        wait_until_stuck(lambda: server.counters()["bytes"])
        judge("stream", server, clients, alone, before)
        for client in clients:
            check(len(client.recv(65536)) > 0, "nothing had arrived")
            client.close()
        server.wait_for_idle(idle)
        server.stop()


def writers_that_never_read(buffers):
    with Server(f"buf_count={buffers}") as server:
        idle = server.idle()
        alone = measured_alone(server)
        before = server.resident_kib()
        clients = [server.connect("echo", receive_buffer=4096) for _ in range(WRITERS)]
        write_until_stuck(clients)
        wait_until_stuck(lambda: server.counters()["bytes"])
        judge(f"echo, {buffers} buffers", server, clients, alone, before)
        equal(server.counters()["connections"], WRITERS)
        for client in clients:
            client.close()
        server.wait_for_idle(idle)
        server.stop()


@test
def peers_that_only_write_are_held_back_too():
    writers_that_never_read(1024)


@test
def also_when_they_hold_every_buffer():
    writers_that_never_read(64)


main()
