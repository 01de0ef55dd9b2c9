#!/usr/bin/env -S python3 -B
"""Far fewer receive buffers than busy connections: nothing is lost, and nobody is left behind.

Sizes: connections=1000 seconds=2 buffers=4
"""
from stress import Server, run_client, size, told
from harness import check, equal, main, test

CONNECTIONS = size("connections", 1000)
SECONDS = size("seconds", 2)
BUFFERS = size("buffers", 4)
RATIO_MAX = 3


def shared_fairly(window, message, buffers):
    with Server(f"buf_count={buffers}") as server:
        idle = server.idle()
        done = run_client("fair", server.port("echo"), CONNECTIONS, SECONDS, window, message)
        server.wait_for_idle(idle)
        cpu_s = server.cpu_s()
        counters = server.stop()
    told(f"{buffers} buffers, {window} bytes on their way", server.greeting["backend"], **done,
         exhausted=counters["bufs_exhausted"], cpu_s=cpu_s)
    equal(done["lost"], 0, "bytes that did not come back")
    check(done["least"] > 0, "a connection got nothing:", done)
    check(done["most"] <= RATIO_MAX * done["least"], "the fastest got more than", RATIO_MAX,
          "times what the slowest got:", done)


@test
def one_small_message_at_a_time():
    shared_fairly(64, 64, BUFFERS)


@test
def several_messages_on_their_way():
    shared_fairly(16384, 4096, BUFFERS)


@test
def more_on_its_way_than_all_buffers_hold():
    shared_fairly(65000, 16384, BUFFERS)


@test
def as_many_buffers_as_connections_but_each_wants_several():
    shared_fairly(16384, 4096, 1024)


main()
