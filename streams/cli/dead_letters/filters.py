"""The options that select dead letters, the same for every command."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.core.errors import UsageError
from streams.core.words.moments import moment_s, span_s
from streams.core.words.naming import named
from streams.core.words.record_key import record_key

if TYPE_CHECKING:
    from streams.operate.dlq.filters import Filters, OffsetRange

_SPAN = re.compile(r"\d+\s*[smhdw]\Z")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?\Z")


def filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of `options` to the command, which receives them as ``filters``."""
    # Imported for type checkers only: the options must not slow down `--help`.
    own = inspect.signature(command, locals={"Filters": object}, eval_str=True)
    chosen = inspect.signature(options, locals={"Filters": object}, eval_str=True).parameters
    required = [p for p in own.parameters.values() if p.name != "filters"]
    signature = own.replace(parameters=[*required, *chosen.values()])

    @wraps(command)
    def filled(**given: Any) -> Any:
        filters = options(**{name: given.pop(name) for name in chosen})
        return command(filters=filters, **given)

    vars(filled)["__signature__"] = signature
    filled.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return filled


def options(
    *,
    topic: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Source topic, or any DLQ topic. Repeatable."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Failed since: 2h (ago), or ISO (UTC).")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Failed before: as --since.")
    ] = None,
    max_age: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Failed at most 6h, 7d ... ago.")
    ] = None,
    error: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Error code. Repeatable.")
    ] = None,
    tenant: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Whose records. Repeatable.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Record key; 0x.. for bytes. Repeatable."),
    ] = None,
    partition: Annotated[
        list[int] | None, typer.Option(metavar="N", min=0, help="Of the DLQ. Repeatable.")
    ] = None,
    offsets: Annotated[
        list[str] | None, typer.Option(metavar="A-B", help="Offsets in the DLQ. Repeatable.")
    ] = None,
    schema_version: Annotated[
        list[int] | None, typer.Option(metavar="N", min=0, help="dia.schema. Repeatable.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many letters.")
    ] = None,
) -> Filters:
    """Raises `UsageError` with the name of an invalid option."""
    from streams.operate.dlq.filters import Filters

    now_s = time.time()
    return Filters(
        topics=tuple(topic or ()),
        since_ms=_moment_ms(since, "--since", now_s),
        until_ms=_moment_ms(until, "--until", now_s),
        oldest_ms=None if max_age is None else round((now_s - span_s(max_age, "--max-age")) * 1000),
        errors=tuple(error or ()),
        tenants=tuple(named(one, "--tenant") for one in tenant or ()),
        keys=tuple(map(record_key, key or ())),
        partitions=tuple(partition or ()),
        offsets=_ranges(offsets or ()),
        schema_versions=tuple(schema_version or ()),
        limit=limit,
    )


def _moment_ms(text: str | None, option: str, now_s: float) -> int | None:
    if text is None:
        return None
    ago = f"-{text}" if _SPAN.match(text.strip()) else text
    return moment_s(ago, option, now_s) * 1000


def _ranges(texts: Sequence[str]) -> tuple[OffsetRange, ...]:
    from streams.operate.dlq.filters import OffsetRange

    found = []
    for text in ",".join(texts).split(",") if texts else ():
        match = _RANGE.match(text.strip())
        last = int(match[2] or match[1]) if match else -1
        if match is None or last < int(match[1]):
            raise UsageError(f'Invalid --offsets "{text}": use 17, or 17-40 (both included).')
        found.append(OffsetRange(int(match[1]), last))
    return tuple(found)
