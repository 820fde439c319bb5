"""Codes of dead letters, which an app's agents give: metric labels, of few values."""

from __future__ import annotations

import pytest

from streams import App, Record
from streams.core.errors import BadRecord, UsageError
from streams.engine.runtime.partition.progress import CODES_MAX


class Note(Record):
    code: str
    number: int


def _app():
    app = App("acme")
    return app, app.topic("notes", value_type=Note, partitions=1)


@pytest.mark.parametrize(
    "code", ["", "Robot", "robot click", "robot\n", "é" * 5, "r" * 32, 7, None]
)
def test_a_class_whose_code_is_no_label_is_refused_at_import(code):
    """A metric would have it, and `dia dlq list --error` would not find it."""
    with pytest.raises(UsageError, match=r"Wrong is a BadRecord with code=.*Give the class a code"):
        type("Wrong", (BadRecord,), {"code": code})


def test_a_class_without_a_code_is_refused_at_import():
    """Its dead letters would be told apart from none."""
    with pytest.raises(UsageError, match="Forgotten is a BadRecord with code='error'"):
        type("Forgotten", (BadRecord,), {})


@pytest.mark.parametrize("code", ["", "Robot click", "r" * 5000, "a\nb"])
def test_a_given_code_that_is_no_label_becomes_agent_failed(app_tester, code):
    """The record is not lost, and the letter names the code."""
    app, notes = _app()

    @app.batch_agent(notes)
    def refuse(batch, scope):
        for index, note in enumerate(batch.events):
            scope.dead_letter(batch.row(index), note.code, "a robot")

    tester = app_tester(app)
    tester.send(notes, Note(code=code, number=1))
    [letter] = tester.dead_letters
    assert letter.code == "agent_failed"
    assert letter.message == f"{code!r:.80}, which is no code: a robot"


def test_codes_made_from_events_are_bounded(app_tester):
    """Each code stands in all later links and in metrics: a producer must not make them grow."""
    app, notes = _app()

    @app.batch_agent(notes)
    def refuse(batch, scope):
        for index, note in enumerate(batch.events):
            scope.dead_letter(batch.row(index), f"bad_{note.number}", "a robot")

    tester = app_tester(app)
    tester._run(_many(tester, CODES_MAX + 1))
    tester.settle()
    tester.crash()
    tester.send(notes, Note(code="", number=0))
    tester.send(notes, Note(code="", number=CODES_MAX))
    tester.send(notes, b"{")
    codes = [letter.code for letter in tester.dead_letters]
    own = [f"bad_{number}" for number in range(CODES_MAX)]
    assert codes == [*own, "agent_failed", "bad_0", "agent_failed", "invalid_json"]


async def _many(tester, count):
    for number in range(count):
        await tester._append("notes", None, b'{"code":"","number":%d}' % number, ())


def test_an_error_whose_object_has_another_code_becomes_agent_failed(app_tester):
    """The code of a class is checked, and an object may have one of its own."""

    class Robot(BadRecord):
        code = "robot"

    app, notes = _app()

    @app.agent(notes)
    async def refuse(stream):
        async for note in stream:
            error = Robot(note.code)
            error.code = note.code
            raise error

    tester = app_tester(app)
    tester.send(notes, Note(code="Robot 7", number=1))
    tester.send(notes, Note(code="robot_7", number=1))
    assert [letter.code for letter in tester.dead_letters] == ["agent_failed", "robot_7"]
