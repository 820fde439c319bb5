"""Training results on the real stack: rows, cards, and the cache in Redis."""

from __future__ import annotations

import msgspec

from streams.connect.cache.kind import MODEL, owned
from streams.connect.cache.redis import RedisShared, connect
from streams.connect.cache.shared import CacheKey
from streams.core.records.model_card import ModelCard


def test_each_result_is_one_row_and_each_model_one_card(pipeline):
    """The agent's facts pass through Arrow, ClickHouse's types and the views."""
    first, *_ = pipeline.shards
    query = "SELECT count(), uniqExact(result_id), sum(metrics['loss']) FROM training_runs"
    [row] = first.query(query)[1]
    assert tuple(row) == (pipeline.trained, pipeline.trained, sum(range(pipeline.trained)) / 8)
    cards = [
        msgspec.json.decode(card, type=ModelCard)
        for (card,) in first.query("SELECT card FROM models ORDER BY model")[1]
    ]
    assert [card.model_id for card in cards] == [f"m{number}" for number in range(10)]
    assert cards[0].aliases == {"champion": "v18"}
    assert len(cards[0].versions) == pipeline.trained // 10
    assert (cards[3].best["loss"].lowest, cards[3].best["loss"].highest) == (13 / 8, 193 / 8)


async def test_the_cache_holds_the_newest_card_of_each_model(pipeline):
    """Write-through: readers of Redis and of ClickHouse see the same card."""
    shared = RedisShared(connect(pipeline.settings.redis_url, 5.0))
    for card, ver in pipeline.shards[0].query("SELECT card, ver FROM models")[1]:
        model = msgspec.json.decode(card, type=ModelCard)
        stored = await shared.read(CacheKey(MODEL.name, owned(model.tenant_id, model.model_id)))
        assert stored[:3] == (ver, ver, b"+" + card.encode())
    await shared.close()
