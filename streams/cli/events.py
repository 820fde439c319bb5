"""`dia events`: example events of the app's topics."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.schemas import chosen_version


def register(app: typer.Typer) -> None:
    group = command_group("Example events, to send and to change.")
    # With a callback Typer keeps the group although it has one command.
    group.callback()(lambda: None)
    group.command()(example)
    app.add_typer(group, name="events")


def example(
    ctx: typer.Context,
    family: Annotated[
        str, typer.Argument(metavar="FAMILY", help="A schema (`dia schemas list`) or its topic.")
    ],
    *,
    version: Annotated[int | None, typer.Option(help="Default: the latest.")] = None,
    count: Annotated[
        int, typer.Option("-n", "--count", metavar="N", min=1, max=100_000, help="How many.")
    ] = 1,
) -> None:
    """Print valid events of the time of now, one JSON object a line.

    Each field of the declared type has a value: the first of its Meta(examples=...), else one from its
    type, bounds and name. Ids differ, so each event counts once.

    Example: dia events example model_metric --count 3 > events.jsonl
    """
    from streams.core.clock import SystemClock
    from streams.core.records.headers import UNNAMED_VERSION
    from streams.engine.decode.codecs import Limits
    from streams.operate.produce.example_event import example_lines

    run = invocation(ctx)
    topic, wanted = chosen_version(run.topology.topics, family, version)
    limits = Limits(run.settings.future_max_s, run.settings.late_max_s)
    lines = asyncio.run(example_lines(topic, wanted, count, SystemClock().now_ms(), limits))
    sys.stdout.writelines(f"{line.decode()}\n" for line in lines)
    if sys.stdout.isatty():
        schema = "" if wanted == UNNAMED_VERSION else f" --schema {wanted}"
        run.printer().say(
            f"send it: dia events example {family} | dia produce {topic.name}{schema} --file -"
        )
