"""The consequences of a shed order, as sentences for the operator to confirm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streams.core.topics.topic import UNLIMITED
from streams.core.words.moments import iso_s
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.engine.engine_tables import MINUTE_WINDOWS
from streams.operate.shed.shed_admin import ShedPlan


def consequences(agent: Agent, plans: Sequence[ShedPlan]) -> list[str]:
    """Empty when no record would be skipped."""
    skipped = [plan for plan in plans if plan.shed > 0]
    unreadable = [plan for plan in skipped if plan.unreadable]
    old = [plan for plan in skipped if not plan.unreadable]
    return [
        *_truncated(plans),
        *(_skipped(agent, old) if old else ()),
        *(_unreadable(agent, unreadable) if unreadable else ()),
    ]


def _truncated(plans: Sequence[ShedPlan]) -> Iterator[str]:
    for plan in plans:
        if plan.truncated:
            yield (
                f"{plan.tp} is left as it is: offsets {plan.first} to {plan.begin - 1} are gone "
                f"from the log unread, which is a matter of `dia tables reset`."
            )


def _unreadable(agent: Agent, plans: Sequence[ShedPlan]) -> Iterator[str]:
    for plan in plans:
        yield f"{plan.tp}: offsets {plan.first} to {plan.until - 1}: {plan.unreadable}"
    if isinstance(agent, JobAgent):
        yield "No request among them is answered: their senders must send them again."
    yield (
        "Nothing else is skipped: each order holds at exactly its first offset. The ledger counts "
        "the offsets as shed; the table shed_ranges names them, you and the reason."
    )


def _skipped(agent: Agent, plans: Sequence[ShedPlan]) -> Iterator[str]:
    oldest_ms = min(plan.oldest_ms or plan.before_ms for plan in plans)
    newest_ms = max(plan.last[1] if plan.last is not None else plan.before_ms for plan in plans)
    total = sum(plan.shed for plan in plans)
    yield (
        f"{total:,} offsets of {len(plans)} partition{'s' if len(plans) > 1 else ''}, appended from {_moment(oldest_ms)} to "
        f"{_moment(newest_ms)}, would not be processed: {agent.name} never sees them, good or bad."
    )
    if MINUTE_WINDOWS in agent.tables:
        yield (
            "Windows of events sent in that time will show less traffic than there was, in m1, h1 "
            "and d1. Windows that are open now keep what they have and close as newer records come."
        )
    yield "A repeat of a skipped event that comes later is counted as its first."
    yield (
        f"The ledger counts them as shed; the table shed_ranges names them, you and the reason. "
        f"{_kept(oldest_ms, plans[0].retention_ms)}"
    )


def _kept(oldest_ms: int, retention_ms: int | None) -> str:
    if retention_ms is None:
        return "The log keeps them for as long as the broker's own retention says."
    if retention_ms == UNLIMITED:
        return "The log keeps them: its topic has no limit of time."
    return f"The log keeps the oldest until about {_moment(oldest_ms + retention_ms)}."


def _moment(at_ms: int) -> str:
    return iso_s(at_ms // 1000)
