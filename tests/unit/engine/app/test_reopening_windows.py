"""`app.windows(late="reopen")` of an app of its own: minutes, hours and days of series of numbers."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from msgspec import Meta

from agents.app import AGGREGATE_METRICS, MODEL_METRICS
from streams import App, Count, Record, Series
from streams.core.errors import UsageError
from streams.engine.streams.series_windows import SeriesWindows

NOW_MS = 1_760_000_000_000
MINUTE_MS = NOW_MS // 60_000 * 60_000 - 600_000
Label = Annotated[str, Meta(max_length=64)]
Level = Annotated[float, Meta(ge=-1e6, le=1e6)]


class Reading(Record):
    tenant_id: Label
    room: Label
    sensor: Label
    id: str
    level: Level
    ts: int
    note: str | None = None


DECLARED: dict[str, Any] = {
    "by": ("tenant_id", "room", "sensor"), "fold": Series("level"), "size": "60s",
    "roll_ups": ("1h", "1d"), "late": "reopen", "ids": "id",
}  # fmt: skip


def _app(value_type=Reading, **topic):
    app = App("house")
    options = {"key_field": "tenant_id", "time_field": "ts", **topic}
    return app, app.topic("readings", value_type=value_type, partitions=1, **options)


def _reading(second, level, number, **more):
    at_ms = MINUTE_MS + second * 1000
    return Reading(
        tenant_id="t", room="hall", sensor="heat", id=f"r{number}", level=level, ts=at_ms, **more
    )


def _minutes(tester):
    """Second of the window, number and sum over all of its rows."""
    found: dict[float, tuple[int, float]] = {}
    for row in tester.rows("m1"):
        assert (row["tenant"], row["model"], row["metric"]) == ("t", "hall", "heat")
        second = row["w"] - MINUTE_MS // 1000
        n, s1 = found.get(second, (0, 0.0))
        found[second] = n + row["n"], s1 + row["s1"]
    return found


def test_a_late_record_opens_its_window_again(app_tester):
    """Rows of a window add up, so no record is refused for being late, and none counts twice."""
    app, readings = _app()
    app.windows("m1", of=readings, **DECLARED)
    tester = app_tester(app, now_ms=NOW_MS)
    tester.send(readings, _reading(1, 2.0, 1))
    tester.send(readings, _reading(500, 5.0, 2))
    tester.advance(120)
    tester.crash()
    tester.send(readings, _reading(2, 3.0, 3))
    tester.send(readings, _reading(2, 3.0, 3))
    tester.advance(300)
    assert _minutes(tester) == {0: (2, 5.0), 480: (1, 5.0)}
    assert [letter.code for letter in tester.dead_letters] == []


def test_a_repeat_is_told_apart_by_the_events_other_text(app_tester):
    """As by its series, time and value: an id with another payload is a conflict."""
    app, readings = _app()
    app.windows("m1", of=readings, **DECLARED)
    tester = app_tester(app, now_ms=NOW_MS)
    tester.send(readings, _reading(1, 2.0, 1, note="a"))
    tester.send(readings, _reading(1, 2.0, 1, note="a"))
    tester.send(readings, _reading(1, 2.0, 1, note="b"))
    tester.advance(300)
    assert _minutes(tester) == {0: (1, 2.0)}
    [letter] = tester.dead_letters
    assert letter.code == "idempotency_conflict"
    assert "id 'r1' came before with another payload" in letter.message


def test_the_built_in_windows_are_this_declaration():
    """The stored ids of the built-in app hash its other text, the run; a change would make conflicts of
    repeats."""
    assert AGGREGATE_METRICS.series == SeriesWindows(
        topic=MODEL_METRICS, by=("tenant_id", "model_id", "metric"), value="value", ids="event_id"
    )
    assert AGGREGATE_METRICS.series.told_apart_by == "run_id"


class Unbounded(Reading):
    room: str


class Infinite(Reading):
    level: float


class TwoTexts(Reading):
    place: str = ""


class Counted(Reading):
    count: int = 0


@pytest.mark.parametrize(
    ("value_type", "changed", "said"),
    [
        (Reading, {"size": "10s"}, "windows with late='reopen' are the tables m1, h1, d1"),
        (Reading, {"roll_ups": ()}, "roll_ups=('1h', '1d')"),
        (Reading, {"fold": {"n": Count()}}, "late='reopen' and fold=Series(...) belong together"),
        (Reading, {"late": "drop"}, "late='reopen' and fold=Series(...) belong together"),
        (Reading, {"grace": 5}, "Their grace is DIA_GRACE_S"),
        (Reading, {"step": "10s"}, "take no step. Their grace"),
        (Reading, {"by": ("tenant_id", "room")}, "is not 'tenant_id' and two other fields"),
        (Reading, {"by": ("room", "tenant_id", "sensor")}, "is not 'tenant_id' and two other"),
        (Reading, {"ids": "ts"}, "field 'ts' must be a str"),
        (Reading, {"ids": "nothing"}, "field 'nothing' must be a str"),
        (Reading, {"fold": Series("note")}, "field 'note' must be Annotated[float"),
        (Unbounded, {}, "field 'room' must be Annotated[str, msgspec.Meta(max_length=128)]"),
        (Infinite, {}, "field 'level' must be Annotated[float, msgspec.Meta(ge=-1e+150"),
        (TwoTexts, {}, "besides these fields an event has one text at most"),
        (Counted, {}, "besides these fields an event has one text at most"),
    ],
)
def test_windows_that_cannot_be_such_are_refused(value_type, changed, said):
    """At the import, and nothing is declared then."""
    app, readings = _app(value_type)
    with pytest.raises(UsageError) as refused:
        app.windows("m1", of=readings, **{**DECLARED, **changed})
    assert said in str(refused.value)
    assert not app.agents


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ({"time_field": ""}, "needs a key_field that by names, and a time_field"),
        ({"key_field": "id"}, "needs a key_field that by names, and a time_field"),
        ({"codec": "msgpack"}, "must be Records in JSON"),
    ],
)
def test_a_topic_that_cannot_have_them_is_refused(topic, said):
    """Without a time of its own an event and its repeat would differ; bounds are checked in JSON."""
    app, readings = _app(**topic)
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        app.windows("m1", of=readings, **DECLARED)


def test_an_app_has_such_windows_of_one_topic():
    """Their rows differ by partition and offset, not by topic."""
    app, readings = _app()
    app.windows("m1", of=readings, **DECLARED)
    more = app.topic("more", value_type=Reading, key_field="tenant_id", time_field="ts")
    with pytest.raises(UsageError, match="have the windows of readings already"):
        app.windows("m1", of=more, **DECLARED)
    assert [*app.agents] == ["readings-windows"]
