"""The report as Markdown: targets, ratios, figures of every part, reasons."""

from __future__ import annotations

from collections.abc import Iterator

from streams.core.errors import UsageError
from streams.dev.bench.cases.capacity import Capacity
from streams.dev.bench.console_load import record as console_load
from streams.dev.bench.curves import curves
from streams.dev.bench.peers.agents import agent_table
from streams.dev.bench.peers.results import PeerReport, ratio_table
from streams.dev.bench.report import results
from streams.dev.bench.report.records import Records
from streams.dev.bench.report.targets import (
    FLOOR_PER_S,
    TARGETS,
    column_floor,
    machine_share,
)

COMMAND = "make bench-report"
MARKER, _END = "<!-- ratios: written by `make bench-report` -->", "<!-- end of ratios -->"
_BEFORE = "## More\n"


def compose(records: Records) -> str:
    return "\n".join(_lines(records)).rstrip() + "\n"


def _lines(records: Records) -> Iterator[str]:
    yield "# How fast, and why"
    yield ""
    yield (
        f"Written by `{COMMAND}` from the records in [results/report](results/report); "
        "[README.md](README.md) explains each figure. A run that was not exact has none."
    )
    yield ""
    yield from _machine(records)
    yield "## Targets"
    yield ""
    yield from _targets(records)
    yield "What bounds those that are missed, and what was tried: [BOUNDS.md](BOUNDS.md)."
    yield ""
    if records.peers is not None:
        yield "## Against other engines"
        yield ""
        yield from _peers(records.peers)
    if records.runs:
        yield "## The pipeline"
        yield ""
        yield from results.tables(
            [outcome for report in records.runs.values() for outcome in report.outcomes]
        )
    if records.agents is not None:
        yield "## One event at a time"
        yield ""
        yield from agent_table(records.agents)
        yield ""
    if records.curves is not None:
        yield "## Cost law"
        yield ""
        yield (
            "The engine alone, on an in-memory Kafka and a real RocksDB, rows dropped; 4 "
            "partitions, 1,000 tenants, 100,000 windows alive and one process where nothing else is "
            "said."
        )
        yield ""
        yield from curves.markdown(records.curves)
    if records.capacity is not None:
        yield "## Capacity"
        yield ""
        yield from _capacity(records.capacity)
    if records.readers is not None:
        yield "## Readers"
        yield ""
        yield from console_load.markdown(records.readers)


def _targets(records: Records) -> Iterator[str]:
    yield "| target | wanted | in proportion | measured | met |"
    yield "|---|---:|---:|---:|---|"
    for target in TARGETS:
        yield "| " + " | ".join(target.row(records)) + " |"
    yield ""
    floor, share = column_floor(records), machine_share(records)
    if floor is not None and share is not None:
        yield (
            f"Rates and costs are wanted of a machine on which dia's own fetch and decoding reach "
            f"{FLOOR_PER_S:,} events/s alone. Here they reach {floor:,}, {share:.2f} of it: in "
            f"proportion, a rate is times {share:.2f} and a cost is divided by it."
        )
        yield ""


def _machine(records: Records) -> Iterator[str]:
    made = [report.machine for report in records.runs.values()]
    others = (
        records.peers,
        records.curves,
        records.capacity,
        records.jobs,
        records.agents,
        records.readers,
    )
    made += [record.machine for record in others if record is not None]
    for machine in dict.fromkeys(map(str, made)):
        yield machine
        yield ""


def _peers(peers: PeerReport) -> Iterator[str]:
    yield (
        f"One topic of {peers.events:,} `{peers.workload}` events, one core for each engine in "
        "turn, the broker on another; rows acknowledged and dropped. An engine that was not through after "
        f"{peers.limit_s:g} s was stopped there."
    )
    yield ""
    yield from ratio_table(peers)
    yield ""


def _capacity(found: Capacity) -> Iterator[str]:
    safe = f"{found.safe_per_s:,} events/s" if found.safe_per_s else "none held"
    yield f"Safe rate, {found.case}: **{safe}**, the sender on the same machine."
    yield ""
    yield "| events/s | seconds | committed after s | sender late s | held |"
    yield "|---:|---:|---:|---:|---|"
    for one in found.tries:
        held = "yes" if one.held else "no"
        yield (
            f"| {one.rate_per_s:,} | {one.seconds} | {one.behind_s} | {one.sender_late_s} | {held} |"
        )
    yield ""


def headline(records: Records) -> list[str]:
    """Ratios, and targets met and missed, for the project's README; none without peers."""
    peers = records.peers
    if peers is None:
        return []
    machine = peers.machine
    job = (
        f"The same job on the same topic of {peers.events:,} events, one core each: drop repeated "
        "ids, count and add up minute windows per tenant, model and metric."
    )
    source = (
        f"{machine.cpu}, {machine.cores} cores, Kafka on the other one. Again, on yours: "
        f"`{COMMAND}`. Everything else that was measured: "
        "[tests/bench/REPORT.md](tests/bench/REPORT.md)."
    )
    missed = (
        "What is wanted, met and missed; what bounds the missed ones: "
        "[tests/bench/BOUNDS.md](tests/bench/BOUNDS.md)."
    )
    return [
        MARKER,
        "## How fast",
        "",
        job,
        "",
        *ratio_table(peers),
        "",
        source,
        "",
        missed,
        "",
        *_targets(records),
        _END,
    ]


def with_headline(readme: str, lines: list[str]) -> str:
    """``lines`` replace the previous ones, or precede the last section. Raises `UsageError` when
    the README has neither."""
    block = "\n".join(lines) + "\n"
    if MARKER in readme and _END in readme:
        before, _, rest = readme.partition(MARKER)
        _, _, after = rest.partition(_END + "\n")
        return before + block + after
    if _BEFORE not in readme:
        raise UsageError(f"README.md has no section {_BEFORE.strip()!r} to put the ratios before.")
    before, _, after = readme.partition(_BEFORE)
    return before + block + "\n" + _BEFORE + after
