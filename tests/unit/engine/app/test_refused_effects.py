"""What an agent sends and owes comes from events: where Kafka or the outbox refuses it in every attempt, its event is a
dead letter, and commits go on."""

from __future__ import annotations

import pytest

from streams import App, Record
from streams.core.formats.codec import Read
from streams.core.records.bad_records import ValueRefused
from streams.core.topics.current_stream import current
from streams.core.topics.topic import MAX_RECORD_BYTES, SOURCE_MESSAGE_BYTES

NOW_MS = 1_760_000_000_000
LARGE = 600_000
"""characters of an event that an edge takes; twice as many fit no record and no row"""


class Note(Record):
    tenant_id: str
    text: str
    number: int = 0
    ts: int


def _app(act, **topic):
    app = App("acme")
    notes = app.topic(
        "notes", value_type=Note, key_field="tenant_id", time_field="ts", partitions=1
    )
    out = app.topic("out", partitions=2, **topic)
    shown = app.clickhouse_table(
        "shown",
        columns={"who": str, "texts": "Array(String)"},
        order_by=("who",),
        shard_by=("who",),
    )
    counts = app.Table("counts", default=int)

    @app.agent(notes)
    async def keep(stream):
        async for note in stream:
            await act(out, shown, note)
            counts[note.tenant_id] += 1

    return app, notes, counts


async def _value(out, shown, note):
    await out.send(key=note.tenant_id, value=note.text * 2)


async def _key(out, shown, note):
    await out.send(key=note.text * 2, value=1)


async def _header(out, shown, note):
    await out.send(key=note.tenant_id, value=1, headers={"text": note.text * 2})


async def _row(out, shown, note):
    current.get().fact(shown, {"who": note.tenant_id, "texts": [note.text] * 2})


async def _text_row(out, shown, note):
    current.get().fact(shown, {"who": note.text * 2, "texts": []})


async def _partition(out, shown, note):
    await out.send(key=note.tenant_id, value=1, partition=note.number)


async def _moment(out, shown, note):
    await out.send(key=note.tenant_id, value=1, timestamp=float(note.number))


@pytest.mark.parametrize(
    ("act", "number", "code"),
    [
        (_value, 0, "value_refused"),
        (_key, 0, "value_refused"),
        (_header, 0, "value_refused"),
        (_row, 0, "row_unfit"),
        (_text_row, 0, "row_unfit"),
        (_partition, 2, "value_refused"),
        (_partition, -1, "value_refused"),
        (_moment, 1 << 62, "value_refused"),
        (_moment, -1, "value_refused"),
    ],
)
def test_an_effect_that_no_commit_can_hold_costs_its_event_alone(app_tester, act, number, code):
    """Each commit of the partition failed, without an end and without a dead letter: for all tenants."""
    app, notes, counts = _app(act)
    tester = app_tester(app, now_ms=NOW_MS)
    tester.send(notes, Note(tenant_id="hostile", text="x" * LARGE, number=number, ts=NOW_MS - 2))
    tester.send(notes, Note(tenant_id="victim", text="y", ts=NOW_MS - 1))
    assert [letter.code for letter in tester.dead_letters] == [code]
    assert tester.table(counts) == {"victim": 1}


def test_a_topic_with_larger_records_takes_them(app_tester):
    """The bound is the topic's own."""
    app, notes, counts = _app(_value, message_bytes=2 * SOURCE_MESSAGE_BYTES)
    tester = app_tester(app, now_ms=NOW_MS)
    tester.send(notes, Note(tenant_id="t", text="x" * (MAX_RECORD_BYTES - 1000), ts=NOW_MS - 1))
    assert tester.dead_letters == []
    assert tester.table(counts) == {"t": 1}


@pytest.mark.parametrize(
    ("bound", "options", "said"),
    [
        (SOURCE_MESSAGE_BYTES, {}, "and the topic holds records of 1064960"),
        (10_000, {}, "and the topic holds records of 10000"),
        (2 * SOURCE_MESSAGE_BYTES, {"partition": 7}, "names partition 7, but the topic has 1"),
        (2 * SOURCE_MESSAGE_BYTES, {"timestamp_s": -1.0}, "which is before 1970"),
    ],
)
def test_a_batch_agent_dead_letters_the_record_whose_result_no_commit_can_hold(
    app_tester, bound, options, said
):
    """`Scope.send` refuses it at once, where the agent knows the record: no commit would succeed."""
    app = App("acme")
    notes = app.topic("notes", value_type=Note, key_field="tenant_id", partitions=1)
    out = app.topic("out", value_type=bytes, codec="raw", partitions=1, message_bytes=bound)

    @app.batch_agent(notes)
    def repeat(batch, scope):
        for index, note in enumerate(batch.events):
            try:
                chosen = options if note.tenant_id == "hostile" else {}
                scope.send(out, value=note.text.encode() * 2, **chosen)
            except ValueRefused as error:
                scope.dead_letter(batch.row(index), error.code, str(error), note.tenant_id)
            else:
                scope.count(applied=1)

    tester = app_tester(app, now_ms=NOW_MS)
    tester.send(notes, Note(tenant_id="hostile", text="x" * LARGE, ts=NOW_MS))
    tester.send(notes, Note(tenant_id="victim", text="y", ts=NOW_MS))
    [letter] = tester.dead_letters
    assert letter.code == "value_refused"
    assert said in letter.message
    assert [sent.value for sent in tester.outputs("out")] == [b"yy"]


def test_a_batch_agent_sends_a_larger_record_where_the_topic_takes_it(app_tester):
    """The bound is the topic's own."""
    app = App("acme")
    notes = app.topic("notes", value_type=Note, key_field="tenant_id", partitions=1)
    bound = 2 * SOURCE_MESSAGE_BYTES
    out = app.topic("out", value_type=bytes, codec="raw", partitions=3, message_bytes=bound)

    @app.batch_agent(notes)
    def repeat(batch, scope):
        for note in batch.events:
            scope.send(out, note.tenant_id, note.text.encode() * 2)
        scope.count(applied=len(batch))

    tester = app_tester(app, now_ms=NOW_MS)
    tester.send(notes, Note(tenant_id="t", text="x" * LARGE, ts=NOW_MS))
    [sent] = tester.outputs("out")
    assert (sent.key, len(sent.value)) == ("t", 2 * LARGE)
    assert tester.dead_letters == []


class Texts:
    """A codec of an app that forgets to encode."""

    name, text = "texts", False

    def decoder(self, value_type):
        return lambda values: Read([*values], {})

    def encode(self, event):
        return str(event)


@pytest.mark.parametrize(
    ("codec", "value", "code", "said"),
    [
        (Texts(), 7, "value_refused", "the codec of out made str of a value"),
        ("raw", 7, "agent_failed", "the codec raw sends bytes, not int"),
        ("raw", "text", "agent_failed", "the codec raw sends bytes, not str"),
    ],
)
def test_a_value_that_is_no_bytes_costs_its_event_alone(app_tester, codec, value, code, said):
    """Kafka's client refused text in each commit, and sent as many zeros as a number says."""
    app = App("acme")
    notes = app.topic("notes", value_type=Note, key_field="tenant_id", partitions=1)
    out = app.topic("out", value_type=bytes, codec=codec, partitions=1)

    @app.agent(notes)
    async def repeat(stream):
        async for note in stream:
            await out.send(key=note.tenant_id, value=value if note.number else b"fine")

    tester = app_tester(app, now_ms=NOW_MS)
    tester.send(notes, Note(tenant_id="t", text="", number=1, ts=NOW_MS))
    tester.send(notes, Note(tenant_id="t", text="", number=0, ts=NOW_MS))
    [letter] = tester.dead_letters
    assert letter.code == code
    assert said in letter.message
    assert len(tester.outputs("out")) == 1
