#!/usr/bin/env -S python3 -B
"""Many seeds of every scenario under several profiles of faults: SEEDS says how many, which is more
than 110,000 in all, and fewer with sanitizers. The line of each says what ran, how fast, and the
hash over its traces."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from harness import equal, main, run, sanitizers, test  # noqa: E402

SCENARIOS = ("chat", "corners", "echo", "emfile", "executor", "pipeline", "replace")
SEEDS = {"calm": 100, "net": 2500, "disk": 2500, "kernel": 2500, "memory": 1500, "storm": 5000,
         "hostile": 3000, "kernel,late=0.3,cancel_late=0.8,nomore=0.3,overflow=0.3": 1000}
SANITIZED = 20  # times as many without


def seeds_pass(scenario, profile, count):
    def passes():
        done = run("sim", "--seeds", f"1-{count}", "--faults", profile, scenario)
        print(done.stdout, done.stderr, end="", flush=True)
        equal(done.returncode, 0, "status")
    words = re.sub(r"[^a-z0-9.]+", "_", profile)
    passes.__name__ = f"{count}_seeds_of_{scenario}_pass_with_{words}_faults"
    test(passes)


for name in SCENARIOS:
    for faults, seeds in SEEDS.items():
        if faults != "disk" or name in ("corners", "replace"):
            seeds_pass(name, faults, seeds // SANITIZED if sanitizers() else seeds)

main()
