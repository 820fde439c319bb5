"""Model cards: their contents, and the bounds that keep each one within an entry."""

from __future__ import annotations

import msgspec

from streams.engine.state.table import MAX_ENTRY_BYTES
from tables.model_cards import MAX_ALIASES, MAX_METRICS, MAX_VERSIONS, ModelCards


def test_both_ends_of_a_metric_are_kept_with_their_versions():
    """The card has no rule for whether a large or a small value is good."""
    cards = ModelCards(10)
    card = cards.open("t", "m")
    for version, loss in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        cards.run_completed(card, version, "run", 1, {"loss": loss})
    best = card.best["loss"]
    assert (best.lowest, best.lowest_version) == (1.0, "b")
    assert (best.highest, best.highest_version) == (3.0, "a")


def test_an_old_version_is_dropped_before_one_with_an_alias_or_stage():
    """Users still ask for the champion of a year ago; the runs between are in ClickHouse."""
    cards = ModelCards(10)
    card = cards.open("t", "m")
    cards.alias_updated(card, "champion", "prod", 0)
    cards.stage_transitioned(card, "staged", "staging", 1)
    for number in range(2 * MAX_VERSIONS):
        cards.run_completed(card, f"v{number}", "run", 10 + number, {})
    assert len(card.versions) == MAX_VERSIONS
    assert {"champion", "staged", f"v{2 * MAX_VERSIONS - 1}"} <= card.versions.keys()
    assert "v0" not in card.versions


def test_the_largest_card_fits_an_entry():
    """An entry that the broker refuses would stop its partition permanently."""
    cards = ModelCards(10)
    wide = "\U0001f600" * 120
    card = cards.open(wide, wide)
    for number in range(2 * MAX_VERSIONS):
        version = f"{number:08}{wide}"
        cards.stage_transitioned(card, version, wide, 1 << 40)
        cards.alias_updated(card, version, f"{number % (2 * MAX_ALIASES):08}{wide}", 1 << 40)
        cards.run_completed(card, version, wide, 1 << 40, {f"{number:08}{wide}": 1e150 - number})
    assert (len(card.aliases), len(card.best)) == (MAX_ALIASES, MAX_METRICS)
    [(_, value)] = cards.delta(1)
    assert len(value) < MAX_ENTRY_BYTES / 2
    assert len(msgspec.json.encode(card)) < MAX_ENTRY_BYTES / 2


def test_a_written_card_is_loaded_equal():
    """A restart changes no card, and a rewritten card is complete."""
    cards, again = ModelCards(10), ModelCards(10)
    card = cards.open("t", "m")
    cards.run_completed(card, "a", "run", 5, {"auc": 0.5})
    cards.alias_updated(card, "a", "champion", 6)
    entries = cards.delta(1)
    assert cards.delta(2) == []
    again.load(entries)
    assert again.get("t", "m") == card
    assert again.bytes_used == cards.bytes_used > 0
    again.rewrite(*entries[0])
    assert again.delta(1) == entries


def test_a_tenant_has_at_most_half_of_the_models():
    """330,000 invented models of one tenant must not stop every partition."""
    cards = ModelCards(10)
    for number in range(5):
        assert cards.room("t") > 0
        cards.open("t", f"m{number}")
    assert cards.room("t") == 0
    assert cards.room("other") == 3
    again = ModelCards(10)
    again.load(cards.delta(1))
    assert (again.room("t"), again.room("other")) == (0, 3)
    assert (ModelCards(10, quota=2).room("t"), ModelCards(10).room("t", others=8)) == (2, 1)
