#!/usr/bin/env -S python3 -B
"""Everything at once, with a fault in every hundredth exchange: nothing grows.

Sizes: seconds=8 connections=150 faults=10 (of 1,000) loops=2 seed=1
The long run: mixed.py BUILD_DIR seconds=1200
"""
import time

import stress
from stress import Server, Watch, run_client, size, thirds, told
from harness import check, echoes, main, test

SECONDS = size("seconds", 8)
CONNECTIONS = size("connections", 150)
FAULTS = size("faults", 10)
LOOPS = size("loops", 2)
SEED = size("seed", int(time.time()))
IDLE_MS = 3000
RESIDENT_MORE, RESIDENT_KIB_MORE = 1.10, 4 * 1024
FILES_MORE = 1.10

stress.harness.TEST_SECONDS_MAX = SECONDS + 240


def load(server, seconds):
    return run_client("mixed", *(server.port(name) for name in ("echo", "frames", "stream")),
                      CONNECTIONS, seconds, FAULTS, SEED, IDLE_MS)


@test
def resident_size_and_descriptors_stay_flat():
    print(f"seed {SEED}: repeat with seed={SEED}")
    with Server(f"loops={LOOPS}", f"idle_ms={IDLE_MS}") as server:
        idle = server.idle()
        load(server, max(2, min(SECONDS // 5, 30)))     # what is allocated once has been
        with Watch(server, 0.1 if SECONDS < 100 else 1) as watch:
            done = load(server, SECONDS)
        # A client that ends its silence or a stalled exchange may outlast the others.
        server.wait_for_idle(idle)
        with server.connect() as client:
            echoes(client, bytes(10000))
        server.wait_for_idle(idle)
        counters = server.stop()
    resident, files = thirds(watch.resident_kib), thirds(watch.files)
    told("mixed load", server.greeting["backend"], seconds=SECONDS, clients=CONNECTIONS, **done,
         resident_kib=resident, files=files, errors=counters["errors"])
    check(done["faults"] > 0, "no fault happened")
    check(resident[1] <= resident[0] * RESIDENT_MORE + RESIDENT_KIB_MORE,
          "resident KiB, first and last third:", resident)
    check(files[1] <= files[0] * FILES_MORE + 5, "descriptors, first and last third:", files)


main()
