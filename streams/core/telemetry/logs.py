"""Structured logs on stderr: one line per decision, an event name and fields, never a payload.

Event names are constants in snake_case (``partition_restored``). Messages of libraries take the
same path, from WARNING on. Repeats are bounded: an outage or a tenant's bad records could otherwise
fill a disk."""

from __future__ import annotations

import logging
import sys
import textwrap
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

import structlog

from streams.core.errors import UsageError
from streams.core.masking import masked
from streams.core.words.printable import lines_printable, printable

OWN_LOGGERS = ("streams", "agents", "tables", "schemas")
REPEATS_MAX = 5
"""per message of a library"""
OWN_REPEATS_MAX = 600
"""per event of ours: more than partitions are assigned at once"""
REPEAT_WINDOW_S = 60.0
REMEMBERED_MAX = 500
FIELD_CHARS_MAX = 2000

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(
    log_format: str = "auto",
    level: str = "info",
    stream: TextIO | None = None,
    own: Iterable[str] = (),
) -> None:
    """Route structlog and the logging module to ``stream`` (stderr). Packages ``own`` log from
    ``level`` on, libraries from WARNING. ``log_format`` is auto (console on a terminal, else JSON),
    console or json. Raises `UsageError` for another word or level."""
    out = sys.stderr if stream is None else stream
    if level not in _LEVELS:
        raise UsageError(f"DIA_LOG_LEVEL={level} is not one of {', '.join(_LEVELS)}.")
    if log_format not in {"auto", "console", "json"}:
        raise UsageError(f"DIA_LOG_FORMAT={log_format} is not one of auto, console, json.")
    as_json = log_format == "json" or (log_format == "auto" and not out.isatty())

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _shorten,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    ours = (*OWN_LOGGERS, *own)
    handler.addFilter(RepeatFilter(time.monotonic, ours))
    handler.setFormatter(_formatter(shared, out, as_json=as_json))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    for name in ours:
        logging.getLogger(name).setLevel(_LEVELS[level])


def keep_off_stdout(level: str = "warning") -> None:
    """Send our events from ``level`` on to stderr, one line each, until `configure`: unconfigured,
    structlog prints to stdout, which is a command's data. Libraries repeat a message `REPEATS_MAX`
    times: in an outage aiokafka logs 180 lines a second."""
    least = _LEVELS.get(level, logging.WARNING)
    if logging.lastResort is not None:
        logging.lastResort.filters = [RepeatFilter(time.monotonic)]

    def enough(logger: Any, method: str, event: Any) -> Any:
        if _LEVELS.get(event["level"], logging.ERROR) < least:
            raise structlog.DropEvent
        return event

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            enough,
            structlog.processors.format_exc_info,
            _shorten,
            _keep_to_lines,
            structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *names: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _formatter(shared: list[Any], out: TextIO, *, as_json: bool) -> logging.Formatter:
    render: list[Any]
    if as_json:
        render = [structlog.processors.JSONRenderer()]
    else:
        render = [_keep_to_lines, structlog.dev.ConsoleRenderer(colors=out.isatty())]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )


def _keep_to_lines(logger: Any, method: str, event: Any) -> Any:
    """Escape what a terminal acts upon, and indent tracebacks: a tenant's text in an exception must
    not look like an event. The renderer writes fields by repr."""
    event["event"] = printable(str(event.get("event")))
    for name in ("exception", "stack"):
        if name in event:
            event[name] = textwrap.indent(lines_printable(event[name]), "    ")
    return event


def _shorten(logger: Any, method: str, event: Any) -> Any:
    """Cut fields to `FIELD_CHARS_MAX`, and mask logins in addresses, which libraries log."""
    for name, value in event.items():
        if isinstance(value, str):
            kept = masked(value)
            event[name] = kept if len(kept) <= FIELD_CHARS_MAX else kept[:FIELD_CHARS_MAX] + "..."
    return event


class RepeatFilter(logging.Filter):
    """Passes a library's message `REPEATS_MAX` times in `REPEAT_WINDOW_S` seconds, one of the
    packages ``own`` `OWN_REPEATS_MAX` times.

    Messages are equal by logger, level, and event name or template. The first record of the next
    window has the number of dropped ones in ``dropped_repeats``."""

    def __init__(self, monotonic: Callable[[], float], own: Sequence[str] = OWN_LOGGERS) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._own = frozenset(own)
        self._seen: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        own = record.name.partition(".")[0] in self._own
        most = OWN_REPEATS_MAX if own else REPEATS_MAX
        # Other libraries may log a mapping too, with any keys.
        event = record.msg if hasattr(record, "_logger") else None  # structlog's form
        what = event.get("event") if isinstance(event, dict) else record.msg
        key = (record.name, record.levelno, str(what))
        now = self._monotonic()
        since, count = self._seen.get(key, (now, 0))
        dropped = 0
        if now - since >= REPEAT_WINDOW_S:
            since, count, dropped = now, 0, max(0, count - most)
        self._seen[key] = (since, count + 1)
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED_MAX:
            self._seen.popitem(last=False)
        if dropped and isinstance(event, dict):
            event["dropped_repeats"] = dropped
        elif dropped:
            record.dropped_repeats = dropped
        return count < most
