"""`dia migrate`: migrates every ClickHouse server to this version's schema."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.connect.sinks.schema import Server

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    group = command_group("Tables and views of the ClickHouse shards.")
    group.command("plan")(plan)
    group.command("apply")(apply)
    group.command("status")(status)
    app.add_typer(group, name="migrate")


def plan(ctx: typer.Context) -> None:
    """Show the statements that `dia migrate apply` would run; change nothing.

    Example: dia migrate plan
    """
    run = invocation(ctx)
    rows = [
        (server.shard, server.replica.url, label, statement)
        for server, waiting in each_server(run, lambda server: server.migrator.pending())
        for label, statements in waiting
        for statement in statements
    ]
    printer = run.printer()
    if rows or run.json:
        printer.rows(("shard", "server", "migration", "statement"), rows)
    if not rows:
        printer.say("every server is up to date.")


def apply(ctx: typer.Context) -> None:
    """Run the pending migrations on every server; repeating it changes nothing.

    With Redis, one process at a time. Exit code 5 when an applied file was changed, a newer version
    has migrated a server, another app has a table of one name in the database, or another process
    migrates for longer than a minute.

    Example: dia migrate apply
    """
    from streams.connect.coordination.exclusive import exclusively
    from streams.connect.sinks.table_owners import OwnedTables

    run = invocation(ctx)
    settings, topology = run.settings, run.app.topology
    own = OwnedTables(topology.app, topology.own_tables)

    def work(check: Callable[[], None]) -> list[tuple[Server, list[str]]]:
        def one(server: Server) -> list[str]:
            check()
            return server.migrator.apply(own)

        return each_server(run, one)

    rows = [
        (server.shard, server.replica.url, label)
        for server, applied in asyncio.run(exclusively(settings, "migrations", work))
        for label in applied
    ]
    printer = run.printer()
    if rows or run.json:
        printer.rows(("shard", "server", "applied"), rows)
    if not rows:
        printer.say("every server is up to date.")


@watchable
def status(ctx: typer.Context) -> None:
    """Show the state of every migration on every server: applied, pending, changed or unknown.

    Example: dia migrate status
    """
    run = invocation(ctx)
    run.printer().rows(
        ("shard", "server", "migration", "state", "at"),
        [
            (server.shard, server.replica.url, standing.label, standing.state.value, standing.at)
            for server, standings in each_server(run, lambda server: server.migrator.standings())
            for standing in standings
        ],
    )


def each_server(run: Invocation, ask: Callable[[Server], T]) -> list[tuple[Server, T]]:
    """The answers in order; stops at the first server that does not answer. Raises `DependencyUnreachable`, and
    `DiaError` for a refused statement."""
    from streams.connect.sinks.clickhouse import require_shards
    from streams.connect.sinks.replica import StatementRefused
    from streams.connect.sinks.schema import servers
    from streams.core.errors import DependencyUnreachable, DiaError, ShardUnavailable

    require_shards(run.settings)
    try:
        found = servers(run.settings, run.app.clickhouse_tables)
    except ShardUnavailable as error:
        raise DependencyUnreachable(str(error)) from error
    try:
        return [(server, ask(server)) for server in found]
    except ShardUnavailable as error:
        raise DependencyUnreachable(str(error)) from error
    except StatementRefused as error:
        raise DiaError(f"a migration was refused: {error}") from error
    finally:
        for server in found:
            server.replica.close()
