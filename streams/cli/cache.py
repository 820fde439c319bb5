"""`dia cache`: clears cache entries in Redis and in every process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation

if TYPE_CHECKING:
    from streams.core.settings import Settings


def register(app: typer.Typer) -> None:
    group = command_group("Values kept in Redis and in the workers.")
    group.command("invalidate")(invalidate)
    app.add_typer(group, name="cache")


def invalidate(
    ctx: typer.Context,
    cache: Annotated[str, typer.Argument(help="policy or model.")],
    pattern: Annotated[
        str, typer.Argument(help="Glob over LENGTH:TENANT/NAME, as '*:acme/*' for all of acme's.")
    ],
) -> None:
    """Make every worker read the matching values from their source again.

    Exit code 4 when Redis is unavailable: the command may be repeated.

    Example: dia cache invalidate policy "*:acme/*"
    """
    run = invocation(ctx)
    count = asyncio.run(_sweep(run.settings, cache, pattern))
    run.printer().record({"cache": cache, "pattern": pattern, "names": count})


async def _sweep(settings: Settings, cache: str, pattern: str) -> int:
    from streams.cli.clients import redis_of
    from streams.connect.cache.invalidations import sweep
    from streams.connect.cache.kind import KINDS
    from streams.core.errors import UsageError

    if cache not in KINDS:
        raise UsageError(f"there is no cache {cache!r}. Known are: {', '.join(KINDS)}.")
    async with redis_of(settings) as shared:
        return await sweep(shared, KINDS[cache], pattern)
