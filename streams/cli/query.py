"""`dia query`: SQL on the shards, and the statistics of one series."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from streams.cli import tenant_rights
from streams.cli.command_group import CommandGroup, command_group
from streams.cli.invocation import Invocation, invocation
from streams.cli.terminal.output_form import QueryForm, columnar
from streams.cli.watchable import watchable
from streams.core.words.naming import named

if TYPE_CHECKING:
    from streams.connect.sinks.replica import Replica, StatementRefused
    from streams.connect.sinks.replica_group import ReplicaGroup
    from streams.connect.sinks.window_views.view import WindowPoints, WindowView
    from streams.core.errors import UsageError
    from streams.core.records.model_card import ModelCard
    from streams.core.rows.window_figures import WindowFigure
    from streams.core.settings import Settings

_DETAIL = ("sd", "min", "max", "last", "p50")
_ABSENT = (60, 81)
"""ClickHouse's codes of an unknown table and an unknown database."""

_UNKNOWN_COLUMN = 47
_TABLES = """
SELECT table, name AS column, type, comment AS meaning
FROM system.columns
WHERE database = currentDatabase() AND NOT match(table, '_(local|all)$')
ORDER BY indexOf(['days', 'hours', 'minutes'], table) DESC, table, position
"""

_FORMAT = re.compile(r"\bFORMAT\s+\w+", re.IGNORECASE)
_APPENDED = re.compile(r":?\s*\bFORMAT (?:Native|ArrowStream)\b")


class _SqlByDefault(CommandGroup):
    """``dia query "SELECT ..."`` is ``dia query sql "SELECT ..."``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("--") and any(map(str.isspace, args[0])):
            # SQL that begins with a comment is no option.
            args = ["sql", *args[1:], "--", args[0]]
        elif args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["sql", *args]
        return super().parse_args(ctx, args)


_File = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="What -o arrow and -o parquet write; it appears whole, or not."
    ),
]
_Show = Callable[[], None]
"""Writes the answer of one server, which may fail in its middle."""
_Ask: TypeAlias = "Callable[[Replica, str, ExitStack], _Show]"


def register(app: typer.Typer) -> None:
    group = command_group(
        "Ask ClickHouse: `dia query SQL`, `dia query series`, `dia query model`.", _SqlByDefault
    )
    group.command("sql")(sql)
    group.command("series")(series)
    group.command("model")(model_card)
    tenant_rights.register(group)
    app.add_typer(group, name="query")


@columnar
@watchable
def sql(
    ctx: typer.Context,
    statement: Annotated[
        str, typer.Argument(metavar="SQL", help="A SELECT, SHOW or DESCRIBE.")
    ] = "",
    *,
    tables: Annotated[
        bool, typer.Option("--tables", help="List the views, their columns and what they mean.")
    ] = False,
    file: _File = None,
) -> None:
    """Run SQL on the first shard that answers. Its views minutes, hours, days, dead_letters and
    ledger read every shard's rows; `--tables` lists all. `-o parquet` and `-o arrow` keep the types of
    columns. A line on stderr names a shard of which every replica is behind.

    Example: dia query "SELECT tenant, sum(events) FROM minutes GROUP BY tenant"
    """
    from streams.connect.sinks.replica import StatementRefused
    from streams.core.errors import DependencyUnreachable, ShardUnavailable, UsageError

    run = invocation(ctx)
    if tables:
        statement = _TABLES
    if not statement.strip():
        raise UsageError(
            'the statement is empty. For example: dia query "SELECT sum(events) FROM minutes"; '
            "dia query --tables lists what there is."
        )
    ask = _as_columns(run, file) or partial(_as_rows, run)
    silent: list[str] = []
    groups = _groups(run.settings)
    if not tables:
        _mark_stale(run, groups)
    for group in groups:
        with ExitStack() as opened:
            opened.callback(group.close)
            try:
                show = group.ask(_question(ask, statement, opened))
            except ShardUnavailable as error:
                silent.append(str(error))
                continue
            except StatementRefused as error:
                raise _refused(error, statement) from error
            # After this point another shard would repeat printed rows.
            try:
                show()
            except StatementRefused as error:
                raise _refused(error, statement) from error
            return
    raise DependencyUnreachable(" ".join(silent))


@columnar
@watchable
def series(
    ctx: typer.Context,
    *,
    windows: Annotated[
        str, typer.Option(metavar="NAME", help="Which app.windows; default the first of the app.")
    ] = "",
    tenant: Annotated[str | None, typer.Option(help="tenant_id of the windows.")] = None,
    model: Annotated[str | None, typer.Option(help="Of m1: model_id of the series.")] = None,
    metric: Annotated[str | None, typer.Option(help="Of m1: its metric.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="NAME=VALUE", help="A field of the key; once for each."),
    ] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option("--figure", metavar="NAME", help="Only this figure; may be repeated."),
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="WHEN", help="now, -6h, or 2026-05-01T12:00 (UTC).")
    ] = "-1h",
    stop: Annotated[str, typer.Option("--to", metavar="WHEN", help="As --from.")] = "now",
    step: Annotated[
        str, typer.Option(metavar="SPAN", help="10s, 1m, 1h, 1d ...; default: each window.")
    ] = "",
    file: _File = None,
) -> None:
    """The figures of windows of one key, from the shard of the key. Of m1: count, mean, sd, min, max, last,
    and percentiles within 1 % of the exact value, exact for up to four values.

    Example: dia query series --tenant acme --model churn --metric auc --from -6h

    Example: dia query series --windows sales --key account=a --figure total --step 1h
    """
    from streams.connect.sinks.clickhouse import require_shards
    from streams.connect.sinks.window_views.read import read
    from streams.connect.sinks.window_views.view import Question, view_named
    from streams.core.errors import DependencyUnreachable, ShardUnavailable
    from streams.core.words.moments import moment_s, span_s
    from streams.engine.app.window_views import window_views

    run = invocation(ctx)
    form = _column_form(run, file)
    settings, now_s = run.settings, time.time()
    view = view_named(window_views(run.app, settings), windows)
    given = _key_texts({"tenant": tenant, "model": model, "metric": metric}, key or ())
    start_s, stop_s = moment_s(start, "--from", now_s), moment_s(stop, "--to", now_s)
    step_ms = span_s(step, "--step") * 1000 if step else view.grains[0].width_ms
    grain = view.grain_for(start_s, stop_s, step_ms, now_s)
    wanted = view.wanted(figure or ())
    figures = view.figures_in(grain, step_ms, wanted)
    question = Question(view.key_of(given), grain, start_s, stop_s, step_ms)
    require_shards(settings)
    try:
        points = read(settings, view.reading(question, figures), run.printer().warn)
    except ShardUnavailable as error:
        raise DependencyUnreachable(str(error)) from error
    _print_points(run, view, figures, points, form, file)
    if left_out := view.left_out(figures, wanted):
        run.printer().say(
            f"left out: {', '.join(left_out)}. Such figures of several windows cannot be made from those of each: "
            f"choose a step of {grain.width_ms / 1000:g} s."
        )
    if not points.rows:
        where = " / ".join(map(str, question.key))
        run.printer().say(f"no values of {where} there (read from {grain.table}).")


def _key_texts(named_options: Mapping[str, str | None], others: Sequence[str]) -> dict[str, str]:
    """Texts of a key's fields: of options of their own, and NAME=VALUE of ``--key``."""
    from streams.core.errors import UsageError

    found = {
        name: named(text, f"--{name}") for name, text in named_options.items() if text is not None
    }
    for one in others:
        name, separator, text = one.partition("=")
        if not separator:
            raise UsageError(f"--key {one!r} is not NAME=VALUE.")
        found[name] = text
    return found


def _print_points(
    run: Invocation,
    view: WindowView,
    figures: Sequence[WindowFigure],
    points: WindowPoints,
    form: QueryForm | None,
    file: Path | None,
) -> None:
    from streams.core.words.moments import iso_s

    if form is None:
        rows = [(iso_s(t), *rest) for t, *rest in points.rows]
        run.printer().rows([*points.columns], rows, _DETAIL)
    else:
        from streams.cli.terminal.column_file import column_file
        from streams.connect.sinks.window_views.point_columns import point_columns

        batch = point_columns(view, figures, points)
        with column_file(form, batch.schema, file) as write:
            write(batch)
    for chart in view.charts:
        if points.rows and chart.note and any(name in points.columns for name in chart.figures):
            run.printer().say(f"{', '.join(chart.figures)}: {chart.note}")


def model_card(
    ctx: typer.Context,
    *,
    tenant: Annotated[str, typer.Option(help="tenant_id of the model.")],
    model: Annotated[str, typer.Option(help="Its model_id.")],
) -> None:
    """Versions, stages, aliases and best metrics of a model, as cache readers get them: from Redis,
    or from ClickHouse where Redis has none.

    Example: dia query model --tenant acme --model churn
    """
    import asyncio

    import msgspec

    from streams.connect.sinks.clickhouse import require_shards
    from streams.core.errors import CommandError, DependencyUnreachable, ShardUnavailable

    run = invocation(ctx)
    named(tenant, "--tenant")
    named(model, "--model")
    require_shards(run.settings)
    try:
        card = asyncio.run(_card(run.settings, tenant, model))
    except ShardUnavailable as error:
        raise DependencyUnreachable(str(error)) from error
    if card is None:
        raise CommandError(f"no training result of {tenant} / {model} was ever recorded.")
    printer = run.printer()
    if run.json:
        printer.record(msgspec.to_builtins(card))
        return
    names = {
        version: [a for a, v in card.aliases.items() if v == version] for version in card.versions
    }
    printer.rows(
        ["version", "stage", "aliases", "run"],
        [[v, one.stage, " ".join(names[v]), one.run_id] for v, one in card.versions.items()],
    )
    printer.rows(
        ["metric", "lowest", "of", "highest", "of"],
        [
            [name, best.lowest, best.lowest_version, best.highest, best.highest_version]
            for name, best in card.best.items()
        ],
    )


def _column_form(run: Invocation, file: Path | None) -> QueryForm | None:
    """None for rows of text. Raises `UsageError` for options that go together with no form."""
    from streams.cli.terminal.column_file import refuse_terminal
    from streams.core.errors import UsageError

    form = run.column_form
    if form is None:
        if file is not None:
            raise UsageError("--file goes with -o arrow or -o parquet; redirect stdout for others.")
        return None
    if run.watch_s is not None:
        raise UsageError(
            f"--watch repeats the output, and -o {form} makes one file: leave one out."
        )
    refuse_terminal(form, file)
    return form


def _as_rows(run: Invocation, replica: Replica, statement: str, opened: ExitStack) -> _Show:
    columns, rows = opened.enter_context(replica.rows(statement))
    return lambda: run.printer().rows(unlike(columns), rows)


def _question(ask: _Ask, statement: str, opened: ExitStack) -> Callable[[Replica], _Show]:
    return lambda replica: ask(replica, statement, opened)


def _as_columns(run: Invocation, file: Path | None) -> _Ask | None:
    form = _column_form(run, file)
    if form is None:
        return None

    def ask(replica: Replica, statement: str, opened: ExitStack) -> _Show:
        from streams.cli.terminal.column_file import column_file

        schema, batches = opened.enter_context(replica.batches(statement))
        names = unlike(schema.names)

        def show() -> None:
            renamed = schema.empty_table().rename_columns(names).schema
            with column_file(form, renamed, file) as write:
                for batch in batches:
                    write(batch.rename_columns(names))

        return show

    return ask


def unlike(columns: Sequence[str]) -> list[str]:
    """The names, repeated ones numbered: a JSON object needs distinct names."""
    found: list[str] = []
    for column in columns:
        name, number = column, 2
        while name in found:
            name, number = f"{column}_{number}", number + 1
        found.append(name)
    return found


async def _card(settings: Settings, tenant: str, model: str) -> ModelCard | None:
    from streams.connect.cache.model_card_reader import ModelCardReader
    from streams.connect.cache.process import ProcessCaches
    from streams.core.clock import SystemClock
    from streams.core.telemetry.metrics import Metrics

    clock, metrics = SystemClock(), Metrics()
    caches = ProcessCaches(settings, clock, metrics)
    reader = ModelCardReader(settings, clock, metrics, caches.layer)
    try:
        return await reader.card(tenant, model)
    finally:
        await reader.close()
        await caches.close()


def _refused(error: StatementRefused, statement: str) -> UsageError:
    """Without the FORMAT clause that the client appends."""
    from streams.core.errors import UsageError

    text = str(error)
    has_format = _FORMAT.search(statement) is not None
    if not has_format:
        text = re.sub(r" FORMAT AS (?:Native|ArrowStream)", "", text)
        for clause in ("(FORMAT)", "`FORMAT`"):
            text = text.replace(clause, "(end of the statement)")
    refused = UsageError(_APPENDED.sub("", text))
    if has_format and _APPENDED.search(text):
        refused.add_note("Leave FORMAT out of the statement: -o json or -o csv chooses the form.")
    if error.code in _ABSENT:
        refused.add_note("`dia migrate apply` makes the tables and views of this version.")
    if error.code in (*_ABSENT, _UNKNOWN_COLUMN):
        refused.add_note("`dia query --tables` lists the views with their columns.")
    return refused


def _groups(settings: Settings) -> list[ReplicaGroup]:
    from streams.connect.sinks.clickhouse import reading_groups, require_shards

    require_shards(settings)
    return reading_groups(settings)


def _mark_stale(run: Invocation, groups: Sequence[ReplicaGroup]) -> None:
    """Before the answer: a replica may catch up while it is read. The views read every shard, each on a replica
    that is not behind, where there is one."""
    from streams.connect.sinks.replica_group import stale_shard

    for shard, group in enumerate(groups):
        if behind_s := group.look():
            run.printer().warn(stale_shard(shard, behind_s))
