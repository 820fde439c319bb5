"""Names close to one that is not known."""

from __future__ import annotations

from streams.core.words.near_names import did_you_mean

TOPICS = ["model.metrics", "train.results"]


def test_signs_and_case_do_not_count():
    """`model_metrics` for `model.metrics` is the commonest slip."""
    assert did_you_mean("Model_Metric", TOPICS) == " Did you mean model.metrics?"
    assert did_you_mean("zzz", TOPICS) == ""
