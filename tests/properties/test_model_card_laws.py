"""The models that a partition knows: a function of its log, and bounded by the models in use."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.state.log_time import Expiry, LogTime
from tables.model_cards import ModelCards

DAY_MS = 86_400_000
RETENTION_MS = 30 * DAY_MS
EXPIRY = Expiry.of(RETENTION_MS)
FIRST_MS = 1_760_000_000_000

steps = st.sampled_from([0, 1, 1000, DAY_MS // 2, DAY_MS, 20 * DAY_MS, 200 * DAY_MS, -DAY_MS, -1])
results = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 4), steps), min_size=1, max_size=60
)


def made(bound=100):
    return ModelCards(bound, retention_ms=RETENTION_MS)


def appended(log):
    """Append times, by steps."""
    return FIRST_MS + np.cumsum([step for _, _, step in log])


def expected(log):
    """For each result whether its model was known, record by record; and the remaining models."""
    time, heard, known, step_ms = LogTime(), {}, [], EXPIRY.step_ms
    for (tenant, model, _), append_ms in zip(log, appended(log).tolist(), strict=True):
        time = time.after(append_ms, EXPIRY)
        horizon = time.horizon_ms(EXPIRY) // step_ms
        heard = {name: at for name, at in heard.items() if at >= horizon}
        known.append((tenant, model) in heard)
        heard[tenant, model] = time.at_ms // step_ms
    return known, heard


def record(cards, log, append_ms):
    """As the agent does it. For each result whether its model was known."""
    known = []
    for span in cards.spans(append_ms):
        cards.begin(span)
        for tenant, model, _ in log[span.start : span.stop]:
            known.append(cards.get(tenant, f"m{model}") is not None)
            cards.run_completed(cards.open(tenant, f"m{model}"), "v", "run", span.at_ms, {})
    return known


class Store:
    """The changelog's content of the table."""

    def __init__(self):
        self.entries = {}

    def commit(self, cards, seq):
        delta = cards.delta(seq)
        assert len({key for key, _ in delta}) == len(delta), "a commit contains a key twice"
        for key, value in delta:
            if value is None:
                del self.entries[key]  # only a written key can be deleted
            else:
                self.entries[key] = value

    def restored(self):
        cards = made()
        cards.load(list(self.entries.items()))
        return cards


@given(results, st.sets(st.integers(1, 59)), st.sets(st.integers(0, 59)), st.randoms())
def test_known_models_depend_on_the_log_alone(log, cuts, restarts, rng):
    """For any batches, commits and restarts."""
    cards, store, known = made(), Store(), []
    ends = [0, *sorted(cut for cut in cuts if cut < len(log)), len(log)]
    for number, (start, end) in enumerate(pairwise(ends)):
        known += record(cards, log[start:end], appended(log)[start:end])
        if number in restarts:
            for key in rng.sample(sorted(store.entries), len(store.entries) // 2):
                cards.rewrite(key, store.entries[key])
            store.commit(cards, number)
            cards = store.restored()
    assert known == expected(log)[0]
    store.commit(cards, len(ends))
    left = {(tenant, f"m{model}") for tenant, model in expected(log)[1]}
    again = store.restored()
    assert {
        pair for pair in ((t, f"m{n}") for t in "ab" for n in range(5)) if again.get(*pair)
    } == left
    assert len(again) == len(cards) == len(left)
    assert again.room("c") == made(100 - len(left)).room("c")


@given(results)
def test_an_expired_model_frees_its_place(log):
    """A tenant at its maximum of models is accepted again, and the entries are deleted."""
    cards, store = made(), Store()
    record(cards, log, appended(log))
    store.commit(cards, 1)
    later = int(appended(log).max())
    # Each record advances log time by one step: the log confirms that time has passed.
    for _ in range(3 * (RETENTION_MS // EXPIRY.step_ms + 2)):
        later += EXPIRY.step_ms
        record(cards, [("z", 9, 0)], np.array([later]))
    store.commit(cards, 2)
    assert len(cards) == 1
    assert cards.get("z", "m9") is not None
    assert (cards.room("a"), cards.room("b")) == (made(99).room("a"), made(99).room("b"))
    assert len(store.entries) == 2, "the other card, and log time"


@pytest.mark.parametrize("ahead_days", [1, 365])
def test_a_clock_that_is_temporarily_ahead_expires_nothing(ahead_days):
    """A broker's clock is not accepted until the log has advanced behind it."""
    cards = made()
    times = [FIRST_MS, FIRST_MS + ahead_days * DAY_MS, FIRST_MS + 2000, FIRST_MS + 3000]
    record(cards, [("a", 1, 0), ("a", 2, 0), ("a", 2, 0), ("a", 2, 0)], np.array(times))
    assert cards.get("a", "m1") is not None


@given(results)
def test_no_model_expires_before_its_retention(log):
    """Where append times do not go back, age is at most what the clock says."""
    log = [(tenant, model, abs(step)) for tenant, model, step in log]
    heard, times = {}, appended(log).tolist()
    for (tenant, model, _), known, append_ms in zip(log, expected(log)[0], times, strict=True):
        if append_ms - heard.get((tenant, model), -RETENTION_MS * 100) <= RETENTION_MS:
            assert known
        heard[tenant, model] = append_ms
