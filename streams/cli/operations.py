"""`dia operations`: the log of what commands and consoles changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.connect.access.operations_log import LoggedOperation

_When = Annotated[str | None, typer.Option(metavar="WHEN", help="Such as -7d, or ISO (UTC).")]
COLUMNS = (
    "began", "ended", "who", "action", "outcome", "subject", "by", "user", "token", "role", "tenant",
    "operation",
)  # fmt: skip
_DETAIL = ("ended", "by", "user", "token", "role", "operation")


def register(app: typer.Typer) -> None:
    group = command_group("Who changed what: the log of operations.")
    group.command("list")(show)
    app.add_typer(group, name="operations")


@watchable
def show(
    ctx: typer.Context,
    *,
    since: _When = None,
    until: _When = None,
    who: Annotated[
        str | None, typer.Option(help="Name of a person, user of the system, or id of a token.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="Words of the action, such as replay or 'shed run'.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Of the token that was used.")] = None,
    outcome: Annotated[
        str | None, typer.Option(help="done, unfinished, failed, or a code of an error.")
    ] = None,
) -> None:
    """List operations of commands and consoles that share DIA_HOME, by their ends.

    `-o json` (JSON Lines) and `-o csv` export them. Exit code 3 when lines of the log could not be
    read.

    \b
    dia operations list --since -30d -o csv > operations.csv

    Example: dia operations list --who alice --action replay
    """
    from streams.connect.access.operations_log import OperationsLog
    from streams.core.clock import SystemClock
    from streams.core.words.moments import moment_s

    run, now_s = invocation(ctx), time.time()
    from_ms = None if since is None else moment_s(since, "--since", now_s) * 1000
    to_ms = None if until is None else moment_s(until, "--until", now_s) * 1000
    log = OperationsLog.of(run.settings.home_path(), SystemClock())

    def wanted(one: LoggedOperation) -> bool:
        line = one.line
        return (
            (from_ms is None or one.began_ms >= from_ms)
            and (to_ms is None or one.began_ms < to_ms)
            and (who is None or who in (line.name, line.user, line.token))
            and (action is None or action.replace(" ", "_") in line.action.replace(" ", "_"))
            and (tenant is None or line.token_tenant == tenant)
            and (outcome is None or one.outcome == outcome)
        )

    run.printer().rows(COLUMNS, _rows(one for one in log.read() if wanted(one)), _DETAIL)
    if log.unreadable:
        run.printer().warn(
            f"{log.unreadable} lines of the log cannot be read; the others are above."
        )
        raise typer.Exit(3)


def _rows(found: Iterator[LoggedOperation]) -> Iterator[tuple[str, ...]]:
    import msgspec

    from streams.cli.terminal.payload import moment

    for one in found:
        line = one.line
        ended = "" if one.ended_ms is None else moment(one.ended_ms, "seconds")
        yield (
            *(moment(one.began_ms, "seconds"), ended, one.who, line.action, one.outcome),
            *(msgspec.json.encode(line.subject).decode(), line.by, line.user, line.token),
            *(line.role, line.token_tenant or "", line.operation),
        )
