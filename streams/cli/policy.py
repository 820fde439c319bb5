"""`dia policy`: invalidates cached policies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.core.words.naming import named

if TYPE_CHECKING:
    from streams.core.settings import Settings


def register(app: typer.Typer) -> None:
    group = command_group("Policies: what a tenant may have simulated.")
    group.callback()(_group)
    group.command("changed")(changed)
    app.add_typer(group, name="policy")


def _group() -> None:
    """Policies: what a tenant may have simulated."""


def changed(
    ctx: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose policy.")],
    policy: Annotated[str, typer.Argument(help="Its policy_id.")],
) -> None:
    """Make every worker read the policy from the policy service (or file) again.

    Without it a changed policy applies after at most 300 s. Subscribers of the Redis channel
    dia:events receive PolicyChanged. Exit code 4 when Redis is unavailable: the command may be
    repeated.

    Example: dia policy changed acme spring-2027"""
    run = invocation(ctx)
    named(tenant, "TENANT")
    named(policy, "POLICY")
    asyncio.run(_changed(run.settings, tenant, policy))
    run.printer().record({"tenant": tenant, "policy": policy, "event": "PolicyChanged"})


async def _changed(settings: Settings, tenant: str, policy: str) -> None:
    from streams.cli.clients import redis_of
    from streams.cli.terminal.operator import actor_of
    from streams.connect.policy.change import policy_changed
    from streams.core.clock import SystemClock

    without = " Without Redis a worker asks again after 30 s by itself."
    async with redis_of(settings, without) as shared:
        await policy_changed(shared, tenant, policy, SystemClock().now_ms(), actor_of(None))
