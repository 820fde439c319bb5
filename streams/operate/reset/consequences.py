"""The consequences of a reset, as sentences for the operator to confirm."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from streams.core.settings import Settings
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.series_agent import SeriesAgent
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.agents.window_agent import windows_of
from streams.operate.reset.reset import Opening, kept_effects


def consequences(opening: Opening, settings: Settings, agent: Agent) -> list[str]:
    """``agent``: of the partition."""
    return [
        *_offsets(opening),
        *_tables(agent),
        *_windows(opening, settings, agent),
        *_dedupe(opening, settings),
    ]


def _offsets(opening: Opening) -> Iterator[str]:
    standing, link = opening.standing, opening.link
    kept = len(kept_effects(standing))
    yield (
        f"{standing.tp} continues at offset {link.next_offset} in epoch {link.epoch}, with empty "
        f"tables; {kept} undelivered effects are kept."
    )
    if given_up := len(standing.survey.owed) - kept:
        yield (
            f"{given_up} undelivered effects are dropped for ever: this version of dia has not declared "
            f"their target."
        )
    if standing.recreated:
        yield "The topic was recreated: all of it is read, and none of it was counted before."
    if opening.skipped is not None:
        first, stop = opening.skipped
        yield f"Offsets {first} to {stop - 1} are gone from the log and never counted."
    if opening.counted_before is not None:
        first, stop = opening.counted_before
        yield f"Offsets {first} to {stop - 1} were counted before and will be counted again."


def _tables(agent: Agent) -> Iterator[str]:
    if isinstance(agent, StreamAgent) and agent.owned:
        names = ", ".join(one.name for one in agent.owned)
        yield f"All entries of the partition in {names} are lost: totals begin anew."


def _open_s(settings: Settings, agent: Agent) -> float | None:
    """How long a window of the agent is open at least; None: it has none."""
    if isinstance(agent, SeriesAgent):
        return settings.grace_s + settings.window_s
    declared = windows_of(agent)
    return (
        max(((one.size_ms or one.gap_ms) + one.grace_ms for one in declared), default=0) / 1000
        or None
    )


def _windows(opening: Opening, settings: Settings, agent: Agent) -> Iterator[str]:
    open_s = _open_s(settings, agent)
    if open_s is None:
        return
    standing = opening.standing
    last = standing.survey.last
    at_ms = standing.last_append_ms
    watermark_ms = last.watermark_ms if last is not None and last.watermark_ms else at_ms
    if watermark_ms is None:
        yield "Which windows were open at the last commit is not known; their last values are lost."
        return
    first_ms = watermark_ms - round(open_s * 1000)
    last_ms = max(watermark_ms, at_ms or 0) + settings.future_max_s * 1000
    yield (
        f"Windows from {_minute(first_ms)} to {_minute(last_ms)} may lack values: they were open "
        f"at the last commit, and what ClickHouse had not acknowledged of them is lost, and so are "
        f"older ones, if a shard was away."
    )


def _dedupe(opening: Opening, settings: Settings) -> Iterator[str]:
    at_ms, ttl_ms = opening.standing.last_append_ms, settings.dedupe_ttl_s * 1000
    if at_ms is None:
        yield (
            f"Repeats of events of the last {settings.dedupe_ttl_s} s before the reset count again."
        )
        return
    yield (
        f"Events first appended from {_second(at_ms - ttl_ms)} to {_second(at_ms)} are forgotten: "
        f"repeats of them count again until {_second(at_ms + ttl_ms)}."
    )


def _minute(at_ms: int) -> str:
    return _moment(at_ms).strftime("%Y-%m-%dT%H:%MZ")


def _second(at_ms: int) -> str:
    return _moment(at_ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
