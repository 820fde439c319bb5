"""Training results on the real stack: rows, cards, and the cache in Redis."""

from __future__ import annotations

import msgspec

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


def test_the_cache_holds_the_newest_card_of_each_model(pipeline):
    """Write-through: readers of Redis and of ClickHouse see the same card."""
    rows = pipeline.shards[0].query("SELECT card, ver FROM models")[1]
    assert len(rows) == len(pipeline.cards)
    for card, ver in rows:
        model = msgspec.json.decode(card, type=ModelCard)
        assert pipeline.cards[model.model_id][:3] == (ver, ver, b"+" + card.encode())
