"""Output of `dia replay`: a plan by error code, a run's result, and the progress of each plan."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from streams.cli.terminal.payload import moment
from streams.core.errors import PartialResult

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from streams.cli.invocation import Invocation
    from streams.cli.terminal.output import Printer, ProgressCount
    from streams.core.topics.topic import Topic
    from streams.operate.replay.journal.status import PlanStatus
    from streams.operate.replay.plan.plan import ReplayPlan
    from streams.operate.replay.plan.planner import Draft, PlanLine
    from streams.operate.replay.run.run import RunResult

_LINE = ("error", "letters", "oldest", "newest", "passes", "replay", "park", "excluded")
_STANDING = (
    *("plan", "topic", "partition", "state", "letters", "replayed", "parked", "left", "to_go"),
    *("rate", "by", "began", "last", "reason"),
)
_STANDING_DETAIL = ("partition", "parked", "left", "rate", "by", "began", "last", "reason")
_SPANS = ((86_400, "d"), (3600, "h"), (60, "m"))


def show_draft(invoked: Invocation, draft: Draft, path: Path | None) -> None:
    """The plan on stdout, examples and the next command on stderr."""
    printer, plan = invoked.printer(), draft.plan
    if invoked.json:
        printer.record(
            {
                "plan": plan.id if path is not None else None,
                "file": str(path) if path is not None else None,
                "topic": plan.source,
                "scanned": draft.scanned,
                "letters": plan.letters,
                "behind": plan.behind,
                "errors": [dict(zip(_LINE, _cells(line), strict=True)) for line in draft.lines],
                "reasons": [reason for line in draft.lines for reason in line.reasons],
                "differences": [text for line in draft.lines for text in line.differences],
            }
        )
    elif draft.lines:
        printer.rows(_LINE, [_shown(line) for line in draft.lines], ("oldest", "newest"))
    for line in draft.lines:
        for text in line.differences:
            printer.say(f"\nwould change {text}")
        for text in line.reasons:
            printer.say(f"not replayed: {text}")
    printer.say(_summary(draft, path))


def _summary(draft: Draft, path: Path | None) -> str:
    plan = draft.plan
    if not draft.scanned:
        return f"{plan.source}.dlq holds no dead letters. No plan was written."
    if not draft.lines:
        return f"no dead letter of {draft.scanned:,} matches the filters. No plan was written."
    if path is None:
        return "nothing is left to replay or to park. No plan was written."
    asked = sum(line.replay - line.passes for line in draft.lines)
    unsure = f" (whether {asked:,} of them pass is known only at the run)" if asked else ""
    behind = sum(plan.behind.values()) + sum(line.park for line in draft.lines)
    stay = f"; {behind:,} will not be replayed" if behind else ""
    return (
        f"plan {plan.id}: {plan.letters:,} letters{unsure}{stay}. Written to {path}. "
        f"Next: dia replay run --plan {path}"
    )


def _cells(line: PlanLine) -> tuple[Any, ...]:
    moments = (_moment(line.oldest_ms), _moment(line.newest_ms))
    excluded = dict(sorted(line.excluded.items()))
    return (line.error, line.letters, *moments, line.passes, line.replay, line.park, excluded)


def _shown(line: PlanLine) -> tuple[Any, ...]:
    *cells, excluded = _cells(line)
    return (*cells, ", ".join(f"{count} {reason}" for reason, count in excluded.items()))


def _moment(at_ms: int) -> str | None:
    return moment(at_ms, "seconds") if at_ms > 0 else None


class Eta:
    """Estimates a progress bar's remaining time from the speed so far."""

    def __init__(self, bar: ProgressCount, total: int) -> None:
        self._bar = bar
        self._total = total
        self._done = 0
        self._began_s = time.monotonic()

    def seen(self, count: int) -> None:
        self._done += count
        spent_s = time.monotonic() - self._began_s
        left_s = spent_s / self._done * max(0, self._total - self._done) if self._done else 0.0
        speed = self._done / spent_s if spent_s > 0 else 0.0
        self._bar.update(
            completed=self._done, description=f"replaying {speed:,.0f}/s, {_span(left_s)} left"
        )


def _span(seconds: float) -> str:
    for size_s, unit in _SPANS:
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f}{unit}"
    return f"{seconds:.0f}s"


def show_result(printer: Printer, plan: ReplayPlan, result: RunResult, seconds: float) -> None:
    """Raises `PartialResult` (exit code 3) when dead letters are left."""
    state = "finished" if result.finished else ", ".join(sorted(result.states))
    printer.record(
        {
            "plan": plan.id,
            "state": state,
            "planned": result.planned,
            "replayed": result.replayed,
            "parked": result.parked,
            "left": result.left,
            "decided_elsewhere": result.elsewhere,
            "behind": sum(plan.behind.values()),
            "shown": result.shown,
            "seconds": round(seconds, 1),
        }
    )
    if not result.shown:
        printer.warn(
            "ClickHouse does not show every disposition yet: a shard is away, or none is known. "
            "The journal has them, and the next replay or decision shows them."
        )
    if not result.finished:
        why = "; ".join(result.reasons)
        raise PartialResult(
            f"plan {plan.id} is {state}{': ' + why if why else ''}. "
            f"`dia replay resume {plan.id}` continues it."
        )
    stay = result.parked + result.left + sum(plan.behind.values())
    if stay:
        why = result.reasons[0] if result.reasons else "`dia replay plan` shows the reasons"
        raise PartialResult(
            f"{stay:,} of the selected dead letters are left "
            f"({result.parked:,} in the parking lot). {why}."
        )


def show_standings(printer: Printer, found: Iterable[tuple[Topic, int, PlanStatus]]) -> None:
    rows = [_standing(*one) for one in found]
    printer.rows(_STANDING, [[row[name] for name in _STANDING] for row in rows], _STANDING_DETAIL)
    if not rows:
        printer.say("no plan was run here yet. `dia replay plan` makes one.")


def _standing(source: Topic, partition: int, plan: PlanStatus) -> dict[str, Any]:
    done = plan.replayed + plan.parked + plan.left
    return {
        "plan": plan.plan,
        "topic": source.name,
        "partition": partition,
        "state": plan.state,
        "letters": plan.letters,
        "replayed": plan.replayed,
        "parked": plan.parked,
        "left": plan.left,
        "to_go": 0 if plan.over else plan.letters - done,
        "rate": plan.rate,
        "by": plan.actor,
        "began": _moment(plan.began_ms),
        "last": _moment(plan.last_ms),
        "reason": plan.reason,
    }
