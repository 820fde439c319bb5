"""The measured worker with a null sink or a profiler.

``python -m streams.dev.bench.worker --agents A --processes N [--sink null] [--profile FILE]``. A
separate command, so that no production setting can drop rows."""

from __future__ import annotations

import argparse
import cProfile
import sys
from collections.abc import Sequence
from pathlib import Path

from agents.app import app
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.errors import DiaError
from streams.core.settings import load
from streams.core.telemetry.logs import configure
from streams.dev.bench.null_sink import NullShards
from streams.engine.app.loading import BUILT_IN
from streams.engine.host import host as hosting
from streams.engine.host.worker_service import ShardsOf
from streams.engine.runtime import processes

SINKS: dict[str, ShardsOf] = {
    "clickhouse": ClickHouseShards.from_settings,
    "null": NullShards.from_settings,
}


def command(sink: str, profile: Path | None) -> list[str]:
    argv = [sys.executable, "-m", "streams.dev.bench.worker", "--sink", sink]
    return argv if profile is None else [*argv, "--profile", str(profile)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="streams.dev.bench.worker", description=__doc__)
    parser.add_argument("--agents", default="aggregate_metrics")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--slot", type=int, default=0)
    parser.add_argument("--sink", choices=sorted(SINKS), default="clickhouse")
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args(argv)
    try:
        _run(options)
    except DiaError as error:
        sys.stderr.write(f"error: {error} [{error.code}]\n")
        sys.exit(error.exit_code)


def _run(options: argparse.Namespace) -> None:
    settings, _ = load()
    configure(settings.log_format, settings.log_level)
    if options.processes > 1:
        _, _, *module = command(options.sink, options.profile)
        single = [*module, "--agents", options.agents]
        slots = processes.WorkerSlots(
            options.processes,
            lambda number: [*single, "--slot", str(number)],
            settings.drain_timeout_s,
            spare=("streams.cli.standby", BUILT_IN),
        )
        processes.run(slots)
        return
    agents, shards = app.chosen(options.agents), SINKS[options.sink]
    host = hosting.WorkerHost(settings, app, agents=agents, slot=options.slot, shards=shards)
    if options.profile is None:
        hosting.run(host)
        return
    profiler = cProfile.Profile()
    path = options.profile.with_suffix(f".{options.slot}.pstats")
    # the host ends the process without returning here
    host.on_drained = lambda: profiler.dump_stats(path)
    profiler.enable()
    hosting.run(host)


if __name__ == "__main__":
    main()
