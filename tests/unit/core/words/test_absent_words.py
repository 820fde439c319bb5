"""Faust operations that dia does not have are refused before they affect an event."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from streams.core.errors import UnsupportedByDia
from streams.core.words.absent_words import AGENT_WORDS, STREAM_WORDS
from streams.engine.app.app import App
from streams.engine.streams.stream import Stream
from streams.testing import NotAtRest

GUIDE = Path(__file__).parents[4] / "docs" / "from_faust.md"


class Order(msgspec.Struct):
    account: str


def _app():
    app = App("acme")
    return app, app.topic("orders", value_type=Order, key_field="account")


def test_an_absent_operation_in_an_agent_is_refused_when_the_app_is_imported():
    """The guide promises that an app with an unsupported operation is refused before a worker
    starts.
    """
    app, orders = _app()
    with pytest.raises(
        UnsupportedByDia, match=r"agent follow: stream\.through\(\).*declare an agent"
    ):

        @app.agent(orders)
        async def follow(stream):
            async for _ in stream.through("others"):
                pass

    assert app.agents == {}


def test_an_absent_operation_is_found_where_a_comprehension_shares_the_stream():
    """A name that an inner function also uses is loaded by another instruction."""
    app, orders = _app()
    with pytest.raises(UnsupportedByDia, match=r"stream\.echo"):

        @app.agent(orders)
        async def follow(stream):
            stream.echo("others")
            later = [lambda: stream]
            async for _ in later[0]():
                pass


def test_the_same_name_on_another_object_is_allowed():
    """`", ".join(...)` is not a join of streams."""
    app, orders = _app()
    separator = ", "

    @app.agent(orders)
    async def names(stream):
        async for order in stream:
            separator.join([order.account])

    assert "names" in app.agents


@pytest.mark.parametrize("word", STREAM_WORDS)
def test_each_absent_operation_of_a_stream_names_its_replacement(word):
    """The message is the same at the import and at the call."""
    app, orders = _app()
    names: dict[str, object] = {}
    exec(f"async def follow(stream):\n    stream.{word}()", names)
    with pytest.raises(UnsupportedByDia, match=re.escape(STREAM_WORDS[word])):
        app.agent(orders)(names["follow"])
    with pytest.raises(UnsupportedByDia, match=re.escape(STREAM_WORDS[word])):
        getattr(Stream, word)(None)


@pytest.mark.parametrize("word", sorted(AGENT_WORDS))
@pytest.mark.parametrize("inner", [False, True], ids=["in the body", "in a function of it"])
def test_a_body_that_asks_an_agent_is_refused_when_the_app_is_loaded(word, inner):
    """The worker started, took its partitions and stopped at the first event. The agent that is asked
    may be declared below."""
    app, orders = _app()
    others = app.topic("others", value_type=Order, key_field="account")
    call = f"(lambda: answer.{word}(order))()" if inner else f"answer.{word}(order)"
    names: dict[str, object] = {"__name__": __name__}
    exec(f"async def question(stream):\n async for order in stream:\n  {call}", names)
    app.agent(orders)(names["question"])
    app.check()

    @app.agent(others)
    async def answer(stream):
        async for _ in stream:
            pass

    names["answer"] = answer
    with pytest.raises(UnsupportedByDia, match=rf"^agent answer: {word}\(\).*agent\.cast\(\)"):
        app.check()


def test_a_variable_of_the_body_may_have_the_name_of_an_agent():
    """It holds another object."""
    app, orders = _app()

    @app.agent(orders)
    async def answer(stream):
        async for _ in stream:
            pass

    names: dict[str, object] = {"__name__": __name__, "answer": answer}
    exec("async def q(stream):\n async for o in stream:\n  answer = ''\n  answer.join(o)", names)
    app.agent(app.topic("others", value_type=Order, key_field="account"))(names["q"])
    app.check()


def test_an_absent_operation_found_at_its_call_stops_the_partition(tested):
    """The operation fails for every event, so a dead letter for each would be wrong."""
    app, orders = _app()
    others = app.topic("others", value_type=Order, key_field="account")

    @app.agent(others)
    async def answer(stream):
        async for _ in stream:
            pass

    @app.agent(orders)
    async def question(stream):
        async for order in stream:
            await asked[0].ask(order)

    asked = [answer]
    tester = tested(app)
    with pytest.raises(NotAtRest, match=r"(?s)stopped, agent_failed: .*UnsupportedByDia.*ask\(\)"):
        tester.send(orders, Order("a"))
    assert tester.dead_letters == []


@pytest.fixture
def tested(app_tester):
    return app_tester


def test_the_guide_states_when_an_operation_is_refused():
    """For each kind of operation, the moment that the other tests prove."""
    said = GUIDE.read_text().partition("## Not supported")[2]
    assert all(f".{word}(" in said for word in STREAM_WORDS)
    assert "when the app is imported" in said
    assert "`agent_failed`" in said
