"""`dia replay policies`: automatic replays and their results."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from streams.cli.invocation import invocation
from streams.cli.terminal.payload import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.operate.replay.agent.policies import ReplayPolicy
    from streams.operate.replay.journal.status import PlanStatus

_COLUMNS = (
    *("policy", "topic", "errors", "tenants", "after", "quiet_s", "rate", "hops_max"),
    *("plans", "replayed", "parked", "last"),
)
_DETAIL = ("errors", "tenants", "after", "quiet_s", "rate", "hops_max")


def policies(ctx: typer.Context) -> None:
    """Each automatic policy of DIA_REPLAY_POLICY_FILE, and the results of its plans.

    `dia worker --agents replay` runs them: each replay is a plan in the name of its policy, which
    `dia replay status` shows and `dia replay cancel` ends. The file is TOML, a table [[policy]] for
    each: name, topic, errors; and optionally tenants, after = "policy_service" (only while it
    answers), quiet_s (60: seconds without a new such dead letter), rate (50 dead letters a second),
    hops_max (3).

    Example: dia replay policies --json
    """
    from streams.cli.clients import broker_of
    from streams.operate.replay.agent.policies import own_codes, read_policies
    from streams.operate.replay.journal.control import journals

    invoked = invocation(ctx)
    printer = invoked.printer()
    found = read_policies(invoked.settings.replay_policy_file, invoked.topology)
    if not found:
        printer.say("no policy is configured. Set DIA_REPLAY_POLICY_FILE to a TOML file.")
        return
    for policy in found:
        if own := own_codes(policy):
            printer.say(
                f"policy {policy.name} waits for {', '.join(own)}: no code of dia, so an agent of app "
                f"{invoked.topology.app} must give it."
            )
    known = asyncio.run(journals(broker_of(invoked.settings), invoked.topology.topics))
    plans = [
        plan
        for partitions in known.values()
        for journal in partitions
        for plan in journal.plans.values()
    ]
    printer.rows(_COLUMNS, [_row(policy, plans) for policy in found], _DETAIL)


def _row(policy: ReplayPolicy, plans: Sequence[PlanStatus]) -> tuple[Any, ...]:
    own = [p for p in plans if p.head is not None and p.head.made_by == policy.actor]
    last_ms = max((plan.last_ms for plan in own), default=None)
    return (
        *(policy.name, policy.topic, list(policy.errors), list(policy.tenants)),
        *(policy.after, policy.quiet_s, policy.rate, policy.hops_max),
        *(len({plan.plan for plan in own}), sum(plan.replayed for plan in own)),
        *(sum(plan.parked for plan in own), None if last_ms is None else moment(last_ms)),
    )
