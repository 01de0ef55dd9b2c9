#!/usr/bin/env python3
"""Question: what does bench_offload measure with Python's ThreadPoolExecutor under asyncio?

python_offload_p50, _p99  one run_in_executor of an empty function at a time, awaited
python_offload_pipelined  256 tasks do so at the same time; jobs a second
python_map                ThreadPoolExecutor.map over as many items, without a loop
"""
import asyncio
import concurrent.futures
import json
import statistics
import time

JOBS = 5000
PIPELINED = 20000
TASKS = 256
REPEATS = 3


def nothing(_=None):
    return 0


def show(name, values, unit):
    print(json.dumps({"name": name, "value": statistics.median(values), "unit": unit,
                      "min": min(values), "max": max(values), "repeats": len(values)}))


async def round_trips(loop, pool):
    times = []
    for _ in range(JOBS):
        began = time.perf_counter_ns()
        await loop.run_in_executor(pool, nothing)
        times.append(time.perf_counter_ns() - began)
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


async def pipelined(loop, pool):
    async def some():
        for _ in range(PIPELINED // TASKS):
            await loop.run_in_executor(pool, nothing)
    began = time.perf_counter_ns()
    await asyncio.gather(*(some() for _ in range(TASKS)))
    return PIPELINED // TASKS * TASKS * 1e9 / (time.perf_counter_ns() - began)


def mapped(pool):
    began = time.perf_counter_ns()
    for _ in pool.map(nothing, range(PIPELINED)):
        pass
    return PIPELINED * 1e9 / (time.perf_counter_ns() - began)


async def main():
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        trips = [await round_trips(loop, pool) for _ in range(REPEATS + 1)][1:]
        show("python_offload_p50", [p50 for p50, _ in trips], "ns")
        show("python_offload_p99", [p99 for _, p99 in trips], "ns")
        show("python_offload_pipelined",
             [await pipelined(loop, pool) for _ in range(REPEATS)], "jobs/s")
        show("python_map", [mapped(pool) for _ in range(REPEATS)], "jobs/s")


asyncio.run(main())
