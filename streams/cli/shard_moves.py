"""`dia shards move` and the commands that watch and steer it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.invocation import Invocation, invocation
from streams.cli.terminal.operator import Yes, consent
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.connect.sinks.moves.notes import MoveOrder
    from streams.operate.shards.mover import MoveOptions, MoveReport

_Map = Annotated[int, typer.Argument(metavar="MAP", help="Number in `dia shards list`.")]
_Batch = Annotated[
    int | None,
    typer.Option(
        metavar="ROWS", min=100, max=1_000_000, help="Rows of an insert, about; at first 50000."
    ),
]
_Rate = Annotated[
    float | None,
    typer.Option(metavar="N", min=0, help="Rows copied in a second, at most; 0: no limit."),
]


def register_moves(group: typer.Typer) -> None:
    group.command("move")(move)
    group.command("moves")(moves)
    group.command("pace")(pace)
    group.command("pause")(pause)
    group.command("resume")(resume)
    group.command("cancel")(cancel)


def move(
    ctx: typer.Context,
    version: _Map,
    *,
    batch: _Batch = None,
    rate: _Rate = None,
    sample: Annotated[
        int, typer.Option(metavar="N", min=1, help="Series compared of each pair of shards.")
    ] = 1000,
    give_up_above: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="A day stays if more of its sample differ."
        ),
    ] = 0.0,
    readers_s: Annotated[
        float,
        typer.Option(
            metavar="S", min=20, help="From showing the copies to deleting the originals."
        ),
    ] = 60.0,
    yes: Yes = False,
) -> None:
    """Move the rows of a move that is in force: copy, compare, show, delete the originals, by days.

    Workers may run. End the command at any time (Ctrl-C), and run it again: it goes on, also after a
    kill -9. `dia shards pace`, `pause` and `resume` steer it while it runs. Exit code 3 when copies
    differ or a day was given up, 4 when a server or a broker does not answer, 5 when a partition does
    not take the move.

    Example: dia shards move 4 --rate 20000
    """
    from streams.core.errors import PartialResult
    from streams.operate.shards.mover import MoveOptions
    from streams.operate.shards.running_move import give_order, seed

    run = invocation(ctx)
    if not yes:
        consent("Move the stored windows of these days, and delete the originals?")
    give_order(run.settings, version, batch=batch, rate=rate)
    options = MoveOptions(
        sample=sample,
        differing_max=give_up_above,
        readers_s=readers_s,
        seed=seed(),
    )
    report = _moved(run, version, options)
    run.printer().record(
        {
            "days": report.days,
            "rows_copied": report.copied,
            "rows_there": report.there,
            "portions_repaired": report.repaired,
            "series_compared": report.compared,
        }
    )
    if report.given_up:
        raise PartialResult("; ".join(report.given_up))


def pace(ctx: typer.Context, version: _Map, *, batch: _Batch = None, rate: _Rate = None) -> None:
    """Set how fast the mover of a move copies, while it runs or for its next run.

    Without an option: show the order. A running mover obeys within seconds, at the end of an insert.

    Example: dia shards pace 4 --rate 5000
    """
    from streams.operate.shards.running_move import give_order

    run = invocation(ctx)
    _print_order(run, version, give_order(run.settings, version, batch=batch, rate=rate))


def pause(ctx: typer.Context, version: _Map) -> None:
    """Have the mover of a move wait, also one that begins later, until `dia shards resume`.

    Each row counts once meanwhile. The mover keeps the lock of migrations: end it to give that back.

    Example: dia shards pause 4
    """
    from streams.operate.shards.running_move import give_order

    run = invocation(ctx)
    _print_order(run, version, give_order(run.settings, version, paused=True))


def resume(ctx: typer.Context, version: _Map, *, batch: _Batch = None, rate: _Rate = None) -> None:
    """Let a paused mover go on. Where none runs, `dia shards move MAP` begins one.

    Example: dia shards resume 4 --rate 20000
    """
    from streams.operate.shards.running_move import give_order

    run = invocation(ctx)
    order = give_order(run.settings, version, batch=batch, rate=rate, paused=False)
    _print_order(run, version, order)


def _print_order(run: Invocation, version: int, order: MoveOrder) -> None:
    run.printer().record(
        {"map": version, "batch": order.batch, "rate": order.rate, "paused": order.paused}
    )


def cancel(
    ctx: typer.Context,
    version: _Map,
    *,
    yes: Yes = False,
) -> None:
    """Leave the days of a move that it has not moved where they are.

    Readers take the originals again, then the copies are deleted. A day whose originals are being
    deleted is finished. Run it again after a failure: it goes on.

    Example: dia shards cancel 4
    """
    from streams.operate.shards.mover import MoveOptions

    run = invocation(ctx)
    if not yes:
        consent("Leave the days that have not moved where they are, and delete their copies?")
    report = _moved(run, version, MoveOptions(), give_up=True)
    run.printer().say(f"{len(report.given_up)} days stay where they were.")


def _moved(
    run: Invocation, version: int, options: MoveOptions, *, give_up: bool = False
) -> MoveReport:
    from streams.cli.clients import broker_of
    from streams.connect.coordination.exclusive import exclusively
    from streams.operate.shards.running_move import run_move

    broker = broker_of(run.settings)

    def work(check: Callable[[], None]) -> MoveReport:
        say = run.printer().say
        return run_move(
            run.settings, run.app, broker, version, options, check, say, give_up=give_up
        )

    return asyncio.run(exclusively(run.settings, "migrations", work))


@watchable
def moves(ctx: typer.Context) -> None:
    """List the days of the moves: their states, rows that are left on the shards that they leave, and
    rows that were brought.

    While a mover copies: its rows a second, and the seconds until it has copied the day.

    Example: dia shards moves
    """
    from streams.connect.sinks.map_record import day_text
    from streams.operate.shards.running_move import standings

    run = invocation(ctx)
    run.printer().rows(
        (
            "map",
            "day",
            "state",
            "rows_left",
            "rows_brought",
            "paused",
            "rows_per_s",
            "seconds_left",
        ),
        [
            (
                *(one.version, day_text(one.day), one.state.name.lower(), one.left, one.copies),
                *(one.paused, _rounded(one.per_s), _rounded(one.seconds_left)),
            )
            for one in standings(run.settings, run.app)
        ],
    )


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
