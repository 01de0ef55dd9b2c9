#!/usr/bin/env -S python3 -B
"""whorl echo as its users see it: addresses, many and odd clients, and how it ends."""
import json
import os
import re
import resource
import selectors
import signal
import socket
import stat
import struct
import threading
import time

from harness import (Server, Skip, check, echoes, equal, folder, main, receive, receive_all, run,
                     says, tell, test, under_tsan)


def stamped(count):
    """`count` bytes of which any gap or repetition shows."""
    return b"".join(struct.pack(">I", i) for i in range(count // 4))


@test
def small_and_large_messages_come_back():
    with Server() as server:
        with server.connect() as client:
            for size in (1, 2, 64, 4095, 4096, 4097, 100000):
                echoes(client, os.urandom(size))
        server.stop()


@test
def every_form_of_address_works():
    for address in ("127.0.0.1:0", ":0", "[::1]:0", f"unix:@whorl-test-{os.getpid()}"):
        if address.startswith("[") and not socket.has_dualstack_ipv6():
            continue
        with Server(address) as server:
            with server.connect() as client:
                echoes(client)
            server.stop()


@test
def a_megabyte_each_way_at_once():
    data = stamped(8 << 20)
    with Server() as server:
        with server.connect() as client:
            sender = threading.Thread(target=client.sendall, args=(data,))
            sender.start()
            equal(receive(client, len(data)) == data, True, "what came back")
            sender.join()
        server.stop()


@test
def half_close_gets_the_rest_and_then_the_end():
    data = stamped(1 << 20)
    with Server() as server:
        with server.connect() as client:
            sender = threading.Thread(
                target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
            sender.start()
            equal(receive_all(client) == data, True, "what came back")
            sender.join()
        server.stop()


@test
def a_thousand_clients_are_served():
    with Server("127.0.0.1:0", "--stats") as server:
        clients = [server.connect() for _ in range(1000)]
        for round_number in range(5):
            for number, client in enumerate(clients):
                client.sendall(struct.pack(">II", number, round_number) * 8)
            for number, client in enumerate(clients):
                equal(receive(client, 64), struct.pack(">II", number, round_number) * 8)
        for client in clients:
            client.close()
        stats = json.loads(server.stop())
    equal(stats["connections"], 1000)
    equal(stats["bytes"], 1000 * 5 * 64)
    equal(stats["errors"], 0)


@test
def ten_thousand_idle_clients_are_held():
    if under_tsan():
        raise Skip("ThreadSanitizer takes at most 8,128 tasks")
    need = 10000 + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < need:
        raise Skip(f"the limit on open files is {hard}, this takes {need}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with Server("127.0.0.1:0", "--stats", "--loops", "1") as server:
            clients = [server.connect() for _ in range(10000)]
            for client in clients[::97]:
                echoes(client)
            before = server.cpu_ticks()
            time.sleep(0.5)
            check(server.cpu_ticks() - before <= 5, "idle connections cost CPU time")
            for client in clients:
                echoes(client, b"x")
            for client in clients:
                client.close()
            stats = json.loads(server.stop())
        equal(stats["connections"], 10000)
        equal(stats["errors"], 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fill(*clients):
    """Send, and never read, until nothing goes any more. Returns how much went."""
    sent = 0
    with selectors.DefaultSelector() as writable:
        for client in clients:
            client.setblocking(False)
            writable.register(client, selectors.EVENT_WRITE)
        while ready := writable.select(0.5):
            for key, _ in ready:
                sent += key.fileobj.send(bytes(1 << 16))
    return sent


# Odd clients

def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@test
def clients_that_reset_do_no_harm():
    with Server() as server:
        for number in range(200):
            client = server.connect()
            if number % 2:
                client.sendall(b"x" * 100000)
            reset(client)
        with server.connect() as client:
            echoes(client)
        server.stop()


@test
def clients_that_never_write_or_never_read_do_no_harm():
    with Server("127.0.0.1:0", "--loops", "1") as server:
        silent = [server.connect() for _ in range(50)]
        # More than it has receive buffers for.
        deaf = [server.connect() for _ in range(200)]
        fill(*deaf)
        with server.connect() as client:
            for _ in range(100):
                echoes(client)
        for client in silent + deaf:
            client.close()
        server.stop()


@test
def memory_does_not_grow_with_what_a_deaf_client_sends():
    def resident():
        return int(re.search(r"VmRSS:\s+(\d+)", open(
            f"/proc/{server.process.pid}/status").read()).group(1))

    with Server("127.0.0.1:0", "--loops", "1") as server:
        with server.connect() as client:
            echoes(client)
        before = resident()
        client = server.connect()
        sent = fill(client)
        check(sent < 64 << 20, sent, "bytes were taken from a client that never reads")
        check(resident() - before < 20000, "KiB of growth:", resident() - before)
        client.close()
        server.stop()


# Two loops

@test
def two_loops_share_the_connections():
    with Server("127.0.0.1:0", "--loops", "2", "--stats") as server:
        check("2 loops" in server.greeting, server.greeting)
        clients = [server.connect() for _ in range(200)]
        for client in clients:
            echoes(client)
        threads = len(os.listdir(f"/proc/{server.process.pid}/task"))
        # ThreadSanitizer has one of its own.
        equal(threads, 3 if under_tsan() else 2, "threads")
        for client in clients:
            client.close()
        stats = json.loads(server.stop())
    equal(stats["connections"], 200)
    equal(stats["echoes"], 200)


@test
def two_loops_share_a_unix_socket():
    with folder() as path, Server(f"unix:{path}/s", "--loops", "2", "--stats") as server:
        clients = [server.connect() for _ in range(50)]
        for client in clients:
            echoes(client)
        for client in clients:
            client.close()
        equal(json.loads(server.stop())["connections"], 50)


# Listening

@test
def a_busy_port_is_status_1_and_named():
    with Server() as server:
        says(run("echo", "--listen", server.address), 1, server.address, "in use", "another")
        with server.connect() as client:
            echoes(client)
        server.stop()


@test
def a_strange_address_is_status_1_and_named():
    # A documentation address, RFC 5737.
    says(run("echo", "--listen", "192.0.2.1:7000"), 1, "192.0.2.1:7000", "no such address")
    says(run("echo", "--listen", "unix:/nonexistent/s"), 1, "/nonexistent/s", "no such folder")


def come_until_connected(address, outcomes):
    """One answer to somebody who does not wait for the server's word."""
    while not outcomes:
        with socket.socket() as client:
            client.bind(("127.0.0.2", 0))  # from the server's own address it may meet itself
            try:
                client.connect(address)
            except ConnectionRefusedError:
                continue
            try:
                echoes(client)
                outcomes.append("served")
            except OSError as error:
                outcomes.append(error)


@test
def clients_that_come_early_are_refused_or_served():
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = probe.getsockname()
        outcomes = []
        client = threading.Thread(target=come_until_connected, args=(address, outcomes))
        client.start()
        with Server("%s:%d" % address, "--loops", "2") as server:
            client.join()
            equal(outcomes, ["served"])
            server.stop()


@test
def socket_files_come_and_go():
    with folder() as path:
        name = path / "s"
        with Server(f"unix:{name}") as server:
            check(stat.S_ISSOCK(os.stat(name).st_mode))
            says(run("echo", "--listen", f"unix:{name}"), 1, "in use")
            server.stop()
        check(not name.exists(), "the socket file was left behind")
        with Server(f"unix:{name}") as server:
            server.process.kill()
            server.process.communicate()
            # The kernel lets go of a ring's descriptors some milliseconds after its process.
            while True:
                try:
                    server.connect().close()
                except ConnectionRefusedError:
                    break
                except BlockingIOError:  # the queue is full: the socket is still there
                    time.sleep(0.001)
        check(name.exists())
        with Server(f"unix:{name}") as server:
            with server.connect() as client:
                echoes(client)
            server.stop()
        name.write_text("precious")
        says(run("echo", "--listen", f"unix:{name}"), 1, "in use")
        equal(name.read_text(), "precious")


# The end

@test
def sigterm_and_sigint_end_it_with_status_0():
    for number in (signal.SIGTERM, signal.SIGINT):
        for loops in ("1", "2"):
            with Server("127.0.0.1:0", "--loops", loops) as server:
                clients = [server.connect() for _ in range(20)]
                for client in clients:
                    echoes(client)
                equal(server.stop(number=number), "")
                for client in clients:
                    equal(receive_all(client), b"")
                    client.close()


@test
def a_server_without_clients_ends_at_once():
    for _ in range(20):
        with Server() as server:
            server.stop()


@test
def data_in_flight_is_echoed_before_the_end():
    """Sent before the signal, so it comes back although nobody waited for it."""
    for _ in range(30):
        with Server("127.0.0.1:0", "--loops", "1") as server:
            clients = [server.connect() for _ in range(10)]
            for client in clients:
                echoes(client)
            data = stamped(20000)
            for client in clients:
                client.sendall(data)
            tell(server.process)
            for client in clients:
                equal(len(receive_all(client)), len(data), "bytes back")
                client.close()
            server.finish()


@test
def a_slow_client_gets_a_prefix_without_a_gap():
    data = stamped(30 << 20)
    for delay in (0.0, 0.01, 0.05):
        with Server("127.0.0.1:0", "--loops", "1") as server:
            client = server.connect()
            client.setblocking(False)
            sent, got = 0, bytearray()
            try:
                while True:
                    sent += client.send(data[sent:sent + (1 << 16)])
            except BlockingIOError:
                pass
            time.sleep(delay)
            tell(server.process)
            client.settimeout(30)
            try:
                while piece := client.recv(1 << 16):
                    got += piece
            except ConnectionResetError:
                pass
            check(data.startswith(bytes(got)), "a gap within", len(got), "bytes of", sent)
            client.close()
            server.finish()


@test
def a_deaf_client_does_not_keep_it_for_ever():
    """Draining has a limit of 5 seconds, which is what this test waits for."""
    with Server("127.0.0.1:0", "--loops", "1") as server:
        client = server.connect()
        fill(client)
        server.stop()
        client.close()


@test
def a_second_signal_ends_it_at_once():
    with Server("127.0.0.1:0", "--loops", "1") as server:
        client = server.connect()
        fill(client)
        tell(server.process)
        # The first one is taken once the server has stopped listening.
        while True:
            try:
                server.connect().close()
            except ConnectionError:
                break
        server.stop(status=-signal.SIGTERM)
        client.close()


@test
def statistics_are_one_line_of_json():
    with Server("127.0.0.1:0", "--stats") as server:
        with server.connect() as client:
            for _ in range(10):
                echoes(client, b"0123456789")
        out = server.stop()
    equal(out.count("\n"), 1)
    stats = json.loads(out)
    equal((stats["name"], stats["echoes"], stats["bytes"], stats["connections"], stats["errors"]),
          ("whorl_echo", 10, 100, 1, 0))
    check(stats["syscalls"] > 0 and stats["cpu_ns"] > 0)


@test
def statistics_that_cannot_be_written_are_status_1():
    with Server("127.0.0.1:0", "--stats") as server:
        server.process.stdout.close()
        tell(server.process)
        err = server.process.stderr.read()
        equal(server.process.wait(), 1, err)
        check("cannot write" in err, err)


if __name__ == "__main__":
    main()
