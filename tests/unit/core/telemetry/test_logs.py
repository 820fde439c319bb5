"""Logs: format, logs of libraries, and the bound on repeats."""

from __future__ import annotations

import io
import json
import logging
import os
import re

import pytest
import structlog

from streams.cli import main
from streams.cli.doctor import machine
from streams.core.errors import UsageError
from streams.core.telemetry import logs
from streams.core.telemetry.logs import (
    FIELD_CHARS_MAX,
    OWN_REPEATS_MAX,
    REPEAT_WINDOW_S,
    REPEATS_MAX,
    RepeatFilter,
    configure,
)


@pytest.fixture(autouse=True)
def _restore_logging():
    """Logging is global to the process, so it is restored."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def _lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_off_a_terminal_events_are_json_with_their_fields():
    """Log collectors read one object a line."""
    configure(stream=(out := io.StringIO()))
    structlog.get_logger("streams.engine.runtime").info(
        "partition_restored", partition=3, records=12
    )
    (line,) = _lines(out)
    assert line["event"] == "partition_restored"
    assert (line["partition"], line["records"], line["level"]) == (3, 12, "info")
    assert line["logger"] == "streams.engine.runtime"


def test_console_form_is_text():
    """A terminal gets text instead of JSON."""
    configure("console", stream=(out := io.StringIO()))
    structlog.get_logger("streams.x").warning("shard_down", shard=1)
    assert "shard_down" in out.getvalue()
    assert not out.getvalue().startswith("{")


@pytest.mark.parametrize("on_stdout", [False, True])
def test_text_of_a_tenant_cannot_act_on_a_terminal_or_begin_a_line(on_stdout, capsys):
    """Errors of agents and libraries may contain a tenant's text, which must not look like another
    log event.
    """
    hostile = "a\r\n2026-01-01 [info] forged\x1b]0;owned\x07\u202e\x9b2J"
    out = io.StringIO()
    if on_stdout:
        logs.keep_off_stdout()
    else:
        configure("console", stream=out)
        logging.getLogger("aiokafka").warning("odd answer %s", hostile)
    log = structlog.get_logger("streams.x")
    log.warning("refused", tenant=hostile)
    log.error("agent_failed", names=[hostile], exc_info=ValueError(hostile))
    text = out.getvalue() + capsys.readouterr().err
    assert set(re.findall(r"[^\n]", text)) == {sign for sign in text if sign.isprintable()}
    assert "forged" in text
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01 [info] forged")]


def test_a_command_shows_few_repeats_of_a_library(monkeypatch, capsys):
    """In an outage aiokafka hides the progress of `dia produce` behind 180 lines a second."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logs.keep_off_stdout()
    for node in range(100):
        logging.getLogger("aiokafka").error("node %s away", node)
    assert capsys.readouterr().err.count("away") == logs.REPEATS_MAX


def test_the_level_applies_to_events_of_dia():
    """debug only on request."""
    configure(stream=(out := io.StringIO()))
    structlog.get_logger("streams.x").debug("hidden")
    configure(level="debug", stream=out)
    structlog.get_logger("streams.x").debug("shown")
    assert [line["event"] for line in _lines(out)] == ["shown"]


def test_libraries_log_from_warning_on_in_the_same_format():
    """aiokafka and faust log through the logging module; their info messages are noise."""
    configure(stream=(out := io.StringIO()))
    logging.getLogger("aiokafka.client").info("noise")
    logging.getLogger("aiokafka.client").warning("node %s away", 1)
    (line,) = _lines(out)
    assert (line["event"], line["logger"]) == ("node 1 away", "aiokafka.client")


def test_exceptions_and_long_fields_are_kept_short():
    """One event is one line: the traceback is a field, and a long value is cut."""
    configure(stream=(out := io.StringIO()))
    try:
        int("boom")
    except ValueError:
        structlog.get_logger("streams.x").exception("commit_failed", detail="x" * 10_000)
    (line,) = _lines(out)
    assert "ValueError: invalid literal" in line["exception"]
    assert len(line["detail"]) < FIELD_CHARS_MAX + 10


@pytest.mark.parametrize("words", [("yaml", "info"), ("json", "loud")])
def test_unknown_levels_and_formats_are_usage_errors(words):
    """A misspelt level must not silently become another."""
    with pytest.raises(UsageError, match=words[0] if words[0] == "yaml" else words[1]):
        configure(*words)


def _record(text: str, *args: object, name: str = "aiokafka") -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, text, args, None)


def test_a_library_that_repeats_itself_is_cut_and_counted():
    """An hour's outage of a broker gives five lines a minute and a count of the rest."""
    now = [0.0]
    keep = RepeatFilter(lambda: now[0])
    kept = [keep.filter(_record("away %s", turn)) for turn in range(20)]
    assert kept == [True] * REPEATS_MAX + [False] * (20 - REPEATS_MAX)
    assert keep.filter(_record("another"))
    now[0] = REPEAT_WINDOW_S
    again = _record("away %s", 20)
    assert keep.filter(again)
    assert again.dropped_repeats == 20 - REPEATS_MAX


@pytest.mark.parametrize("package", ["streams.http", "shop"])
def test_an_event_of_dia_is_bounded_and_counts_the_dropped_ones(monkeypatch, package):
    """A tenant can cause one event for each invalid record, a visitor of the console for each
    refused request.
    """
    now = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    configure(stream=(out := io.StringIO()), own=["shop"])
    log = structlog.get_logger(package)
    for number in range(OWN_REPEATS_MAX + 7):
        log.info("console_refused", why=f"request {number}")
        log.warning("event_refused", offset=number)
        logging.getLogger(package).warning("request %s", number)
    lines = _lines(out)
    assert len(lines) == 3 * OWN_REPEATS_MAX, "each event name has its own bound"
    now[0] = REPEAT_WINDOW_S
    log.info("console_refused", why="later")
    log.info("console_refused", why="later")
    first, second = _lines(out)[len(lines) :]
    assert (first["why"], first["dropped_repeats"]) == ("later", 7)
    assert "dropped_repeats" not in second


def test_any_object_is_a_message():
    """A library may log a mapping, and an agent fields only."""
    configure("console", stream=(text := io.StringIO()))
    structlog.get_logger("shop").warning(None, user="x")
    configure(stream=(out := io.StringIO()))
    mapping = {"event": "theirs", "code": 5}
    for _ in range(2):
        logging.getLogger("library").warning({"code": 5})
        logging.getLogger("library").warning(mapping)
        structlog.get_logger("shop").warning(None, user="x")
    assert len(_lines(out)) == 6
    assert (_lines(out)[2]["user"], "user" in text.getvalue()) == ("x", True)
    assert mapping == {"event": "theirs", "code": 5}


def test_the_memory_of_repeats_is_bounded():
    """Messages without a template all differ and must not fill the memory."""
    keep = RepeatFilter(lambda: 0.0)
    for turn in range(5000):
        keep.filter(_record(f"message {turn}"))
    assert len(keep._seen) <= 500


def test_a_command_never_logs_on_stdout(monkeypatch, capsys, tmp_path):
    """stdout holds a command's data: a log line in it breaks JSON readers."""

    def warn(*given: object, **named: object) -> None:
        log = structlog.get_logger("streams.cli")
        log.info("nothing_happened")
        log.warning("locks_unavailable", why="Redis does not answer")

    for name in [name for name in os.environ if name.startswith("DIA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "examine", lambda settings: warn() or [])
    main(["doctor", "--json"])
    out, err = capsys.readouterr()
    assert all(json.loads(line) for line in out.splitlines())
    assert "locks_unavailable" in err
    assert "nothing_happened" not in out + err
