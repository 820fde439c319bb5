"""`dia explain`: an error code in words."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.invocation import invocation
from streams.core.errors import UsageError

_Code = Annotated[
    str, typer.Argument(metavar="CODE", help="As in a dead letter, a log line or a message.")
]


def register(app: typer.Typer) -> None:
    app.command()(explain)


def explain(ctx: typer.Context, code: _Code = "") -> None:
    """Say what an error code means, what dia does about it, and what you can do. Without a code,
    list all.

    Example: dia explain over_quota
    """
    from streams.core.words.near_names import did_you_mean
    from streams.operate.error_codes import error_codes

    printer = invocation(ctx).printer()
    codes = error_codes()
    if not code:
        rows = [(each.code, each.disposition.value, each.summary) for each in codes]
        printer.rows(["code", "disposition", "what"], rows)
        return
    if not (asked := [each for each in codes if each.code == code]):
        near = did_you_mean(code, {each.code for each in codes})
        raise UsageError(f"dia has no error code {code!r}.{near} `dia explain` lists all.")
    for each in asked:
        printer.record(
            {
                "code": code,
                "what": " ".join(each.what.split()),
                "dia": each.action,
                "you": each.next_step,
                "exit_code": each.exit_code,
            }
        )
