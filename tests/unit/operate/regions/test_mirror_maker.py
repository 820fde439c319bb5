"""The properties that MirrorMaker 2 gets for one region."""

from __future__ import annotations

import pytest

from streams.core.records import headers
from streams.operate.regions.declared import Region, Regions
from streams.operate.regions.mirror_maker import mirror_properties

TOPICS = ["model.metrics", "train.results"]


@pytest.fixture
def properties():
    every = {name: Region(name=name, bootstrap=f"{name}:9092") for name in ("a", "b", "c")}
    return mirror_properties(Regions("b", every, 30.0), TOPICS, 2_000_000)


def test_a_mirror_writes_into_its_own_region_only(properties):
    """The mirror of another region writes there: two of one flow would copy twice."""
    enabled = [key for key, value in properties.items() if key.endswith(".enabled") and "->" in key]
    assert {key for key in enabled if properties[key] == "true"} == {"a->b.enabled", "c->b.enabled"}
    assert len(enabled) == 6


def test_topics_are_names_not_patterns(properties):
    """MirrorMaker reads regular expressions: an unescaped dot would copy other topics."""
    assert properties["a->b.topics"] == r"model\.metrics,train\.results"


def test_copies_are_marked_and_not_copied_again(properties):
    """Both directions run at once, and topics have one name everywhere."""
    assert properties["a->b.predicates.mirrored.name"] == headers.MIRRORED
    assert properties["a->b.transforms.mark.header"] == headers.MIRRORED
    assert properties["a->b.transforms.foreign.predicate"] == "mirrored"


def test_only_committed_records_are_copied_with_their_offsets(properties):
    """An edge's aborted transaction holds events that were not accepted."""
    assert properties["a.consumer.isolation.level"] == "read_committed"
    assert properties["b.exactly.once.source.support"] == "enabled"
