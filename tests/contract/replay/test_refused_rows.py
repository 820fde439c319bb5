"""Dead letters of stage `sink`: rows that ClickHouse refused, on every broker."""

from __future__ import annotations

import msgspec
import pytest

from streams.connect.broker.partitioner import partition_of
from streams.core.types import TopicPartition
from streams.engine.runtime.effects.dead_letters import Failure, Origin, dead_letter

W_S = 1_760_000_040
WINDOW = {
    "table": "m1", "tenant": "t", "model": "m", "metric": "x", "part": 0, "w": W_S, "inc": 1,
    "n": 2, "s1": 3.0, "s2": 5.0, "mean": 1.5, "m2": 0.5, "lo": 1.0, "hi": 2.0, "lv": 2.0, "lt": 1_760_000_050_000,
    "sk_k": [1, 2], "sk_n": [1, 1], "ver": 9, "shard": 1,
}  # fmt: skip


async def bury_value(lot, value, id_):
    """Write the JSON of a row to the DLQ as the engine does."""
    number = partition_of(b"t", 2)
    origin = Origin(
        tp=TopicPartition(lot.source.name, number), offset=7, timestamp_ms=1_760_000_100_000,
        key=b"t", value=value, headers=(),
        dlq=TopicPartition(lot.source.dlq, number), id=id_,
    )  # fmt: skip
    failure = Failure(
        code="row_refused", message="no", stage="sink", agent="a", group="g", attempts=1,
        first_failed_ms=1_760_000_100_000,
    )  # fmt: skip
    writer = lot.broker.transactional_producer(f"buries-{id_}")
    await writer.start()
    await writer.begin()
    await (await writer.send(dead_letter(origin, failure, "t").record))
    await writer.commit()
    await writer.close()


async def bury(lot, body):
    """Write one row to the DLQ and wait until it is readable."""
    await bury_value(lot, msgspec.json.encode(body), f"{lot.source.name}.changelog/0/3/ab")
    await lot.read(lot.source.dlq, 1)


@pytest.fixture
async def row(lot):
    """The row of one window, in the DLQ."""
    await bury(lot, WINDOW)
    return WINDOW


def stored(lot):
    """Rows on the shard that the letter names."""
    return [(found["w"], found["n"], found["s1"]) for found in lot.shards.rows("m1", 1)]


@pytest.mark.on_kafka
async def test_a_refused_row_is_inserted_after_a_repair_and_not_sent_to_the_topic(lot, row):
    """A row is no event: as a record of the source topic it would become a dead letter again."""
    draft = await lot.plan()
    [line] = draft.lines
    assert (line.replay, line.passes) == (1, 0)  # only ClickHouse can decide about it
    result = await lot.run(draft.plan)
    assert (result.replayed, result.finished) == (1, True)
    assert stored(lot) == [(W_S, 2, 3.0)]
    assert await lot.read(lot.source.name) == []
    assert [one[0] for one in lot.shown().values()] == ["replayed"]
    assert (await lot.plan()).lines[0].excluded == {"already_replayed": 1}


async def test_a_row_whose_letter_names_no_shard_is_placed_by_the_first_map(lot):
    """Versions without shard maps write such letters."""
    await bury(lot, {name: cell for name, cell in WINDOW.items() if name != "shard"})
    result = await lot.run((await lot.plan()).plan)
    assert (result.replayed, result.finished) == (1, True)
    (shard,) = lot.shards.maps[0].shard_of(["t"], ["m"], ["x"])
    assert [found["w"] for found in lot.shards.rows("m1", int(shard))] == [W_S]


async def test_a_row_refused_again_stays_and_the_plan_gives_the_reason(lot, row):
    """An operator who has repaired the wrong table must see that the row still fails."""
    for shard in lot.shards.faults:
        shard.refuse = lambda table, found: table == "m1"
    draft = await lot.plan()
    result = await lot.run(draft.plan)
    assert (result.replayed, result.left, result.finished) == (0, 1, True)
    assert "row_refused: ClickHouse refuses the row again: refused by script" in result.reasons[0]
    for shard in lot.shards.faults:
        shard.refuse = None
    assert (await lot.run((await lot.plan()).plan)).replayed == 1
    assert stored(lot) == [(W_S, 2, 3.0)]


async def test_a_refused_row_of_facts_is_inserted_after_a_fix(lot):
    """Rows of facts are owed as much as rows of windows."""
    fact = {"tenant": "t", "model": "m", "card": "{}", "ver": 9, "at": 1_760_000_050_000}
    await bury(lot, {"table": "models", **fact})
    result = await lot.run((await lot.plan()).plan)
    assert (result.replayed, result.finished) == (1, True)
    assert [(row["model"], row["ver"]) for row in lot.shards.rows("models")] == [("m", 9)]


async def test_a_fact_without_its_key_is_refused(lot):
    """A letter that was edited by hand must not be inserted under another key."""
    await bury(lot, {"table": "models", "tenant": "t", "card": "{}", "ver": 9})
    [line] = (await lot.plan()).lines
    assert (line.replay, line.excluded) == (0, {"still_fails": 1})
    assert lot.shards.rows("models") == []
