"""How long a training waits in `TrainingLog.log`: python tests/bench/training_calls.py [--seconds 20].

10,000 points a second, to an edge that is away. Beside each call's wall time stand the processor time of the
thread and its waits (getrusage(2)): a call that takes long without either was put aside by the machine. The same
loop with a call that only counts for as long says how often that happens to any statement. With ``--threads 1`` another Python thread
computes, as a loader of data does, and takes the interpreter's lock every 5 ms."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from streams import TrainingLog

RATE = 10_000
SLICE_S = 0.01
LONG_NS = 1_000_000


def compute(until_s: float) -> None:
    while time.monotonic() < until_s:
        sum(range(1000))


def counting(_: str, __: float) -> None:
    for _ in range(60):
        pass


def measured(call: Callable[[str, float], Any], seconds: float, threads: int) -> dict[str, float]:
    """``threads`` of Python compute meanwhile."""
    usage, cpu, now = resource.getrusage, time.thread_time_ns, time.perf_counter_ns
    until_s = time.monotonic() + seconds
    for _ in range(threads):
        threading.Thread(target=compute, args=[until_s], daemon=True).start()
    walls, cpus, waits, late = [], [], [], []
    due = time.monotonic()
    while due < until_s:
        for _ in range(int(RATE * SLICE_S)):
            before, cpu_ns, wall_ns = usage(resource.RUSAGE_THREAD), cpu(), now()
            call("loss", 0.5)
            wall_ns, cpu_ns = now() - wall_ns, cpu() - cpu_ns
            after = usage(resource.RUSAGE_THREAD)
            walls.append(wall_ns)
            cpus.append(cpu_ns)
            waited, put_aside = after.ru_nvcsw > before.ru_nvcsw, after.ru_nivcsw > before.ru_nivcsw
            waits.append(waited)
            late.append(wall_ns > LONG_NS and not (waited or put_aside))
        due += SLICE_S
        time.sleep(max(0.0, due - time.monotonic()))
    walls.sort()
    return {
        "calls": len(walls),
        "p50_us": walls[len(walls) // 2] / 1000,
        "p99.9_us": walls[len(walls) * 999 // 1000] / 1000,
        "max_us": walls[-1] / 1000,
        "cpu_max_us": max(cpus) / 1000,
        "over_1ms": sum(wall > LONG_NS for wall in walls),
        "over_1ms_not_put_aside": sum(late),
        "calls_that_waited": sum(waits),
    }


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--seconds", type=float, default=20.0)
    asked.add_argument("--threads", type=int, default=0)
    found = asked.parse_args()
    with TrainingLog(
        "http://127.0.0.1:9", "t", topic="t", tenant="acme", model="resnet", close_s=0
    ) as log:
        for name, call in (("counting", counting), ("log", log.log)) * 2:
            figures = measured(call, found.seconds, found.threads)
            sys.stdout.write(f"{name:9}{json.dumps(figures)}\n")
        sys.stdout.write(f"lost {log.lost}\n")


if __name__ == "__main__":
    main()
