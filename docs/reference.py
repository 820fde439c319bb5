"""Writes reference/*.md from the code: ``python docs/reference.py``. A test compares them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from prometheus_client import CollectorRegistry

import streams
import streams.cli
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.operate.error_codes import ACTIONS, error_codes

FOLDER = Path(__file__).parent / "reference"

_MARK = "<!-- Written by `python docs/reference.py`. -->\n"


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    return {
        "commands.md": _commands(),
        "errors.md": _errors(),
        "metrics.md": _metrics(),
        "settings.md": _settings(),
    }


def _settings() -> str:
    rows = [
        (
            f"`DIA_{one.name.upper()}`",
            _value(one.default),
            _bounds(one.metadata),
            one.metadata["doc"],
        )
        for one in fields(Settings)
    ]
    return _page(
        "Settings",
        "Environment variables. `dia config show --explain` prints each with its value and where it comes "
        "from. A value out of range ends every command with exit code 2.",
        _table(("variable", "default", "range", "what"), rows),
    )


def _value(default: Any) -> str:
    return f"`{default}`" if default not in ("", None) else "-"


def _bounds(metadata: Any) -> str:
    low, high = metadata["low"], metadata["high"]
    return "-" if low is None and high is None else f"{_number(low)} to {_number(high)}"


def _number(value: float | None) -> str:
    return "any" if value is None else f"{value:,.15g}"


def _errors() -> str:
    codes = error_codes()
    introduction = (
        "`code` is stable: a label of metrics, the header `dia.dlq.error_code`, the end of a command's message. "
        "The group that an error is in decides what happens next. `dia explain CODE` prints the same."
    )
    parts = [introduction]
    for disposition, action in ACTIONS.items():
        rows = [
            (f"`{each.code}`", str(each.exit_code), each.summary)
            for each in codes
            if each.disposition is disposition
        ]
        if rows:
            parts += [f"## {disposition.value.replace('_', ' ').capitalize()}", action]
            parts.append(_table(("code", "exit code of a command", "what"), rows))
    return _page("Errors", *parts)


def _metrics() -> str:
    registry = CollectorRegistry()
    Metrics(registry)
    rows = []
    for collector in registry._collector_to_names:  # noqa: SLF001  # its labels have no public name
        labels = ", ".join(getattr(collector, "_labelnames", ()))
        for metric in collector.collect() if hasattr(collector, "collect") else ():
            name = metric.name + ("_total" if metric.type == "counter" else "")
            rows.append((f"`{name}`", metric.type, labels or "-", metric.documentation))
    return _page(
        "Metrics",
        "At `/metrics` of `DIA_HTTP_PORT` for a worker, and of the port of an edge and a console. Times are in "
        "seconds, sizes in bytes. Label values are bounded.",
        _table(("metric", "kind", "labels", "what"), sorted(rows)),
    )


def _commands() -> str:
    root = streams.cli.command()
    everywhere = ("`-o table|wide|json|csv`", "`--app`", "`--quiet`", "`--no-color`", "`--home`")
    parts = [f"Every command takes {', '.join(everywhere)} and `--help`; `--json` is `-o json`."]
    parts += _group(root, "dia")
    return _page("Commands", *parts)


_EVERYWHERE = {"app", "form", "json", "quiet", "no_color", "home", "help", "app_name"}


def _group(command: Any, path: str) -> Iterator[str]:
    children = getattr(command, "commands", {})
    for name, child in children.items():
        if child.hidden:
            continue
        if hasattr(child, "commands"):
            yield from _group(child, f"{path} {name}")
        else:
            yield f"## {path} {name}"
            yield _plain(child.help or "", every=True)
            if rows := [_parameter(one) for one in child.params if one.name not in _EVERYWHERE]:
                yield _table(("argument or option", "default", "what"), rows)


def _parameter(parameter: click.Parameter) -> tuple[str, str, str]:
    names = " ".join(f"`{name}`" for name in parameter.opts) or f"`{parameter.name}`"
    default = parameter.default
    known = (
        default if isinstance(default, str | int | float) and default not in ("", False) else None
    )
    return names, _value(known), getattr(parameter, "help", None) or "-"


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"{_MARK}\n# {title}", *parts]) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _plain(text: str, *, every: bool = False) -> str:
    """The first paragraph of a docstring, or all of them."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    joined = [" ".join(paragraph.split()) for paragraph in paragraphs]
    return "\n\n".join(joined) if every else joined[0]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
