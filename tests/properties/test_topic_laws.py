"""Applying topics to a broker with any existing topics."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import VirtualClock
from streams.core.errors import RefusedBySafety
from streams.core.types import TopicConfig
from streams.operate.topics.topics import (
    MIN_INSYNC,
    PARTITIONS,
    Durability,
    apply,
    plan,
    wanted_topics,
)
from tests.depth import cases

NAMES = [topic.name for topic in wanted_topics(app.topology)]
SIZES = ("retention.ms", "retention.bytes", "max.message.bytes")
config = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(SIZES, st.sampled_from(["-1", "1000", "604800000", "99999999999"])),
        "max.message.bytes": st.sampled_from(["1000", "99999999"]),
        MIN_INSYNC: st.sampled_from(["1", "2", "3"]),
        "unclean.leader.election.enable": st.sampled_from(["true", "false"]),
    },
)
present = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.integers(1, 7), st.integers(1, 3), config)
)
named = st.frozensets(
    st.tuples(st.sampled_from(NAMES), st.sampled_from([PARTITIONS, "retention.ms"])), max_size=4
)
durabilities = st.builds(
    Durability,
    replication_factor=st.sampled_from([-1, 1, 3]),
    min_insync=st.integers(0, 3),
)


def _size(value: str | None) -> float:
    return 0 if value is None else float("inf") if value == "-1" else int(value)


async def _applied(made, safety, named, accept):
    """The broker's topics before and after, and what a second plan would still change."""
    admin = await MemoryBroker(VirtualClock()).admin()
    await admin.create_topics([TopicConfig(name, *rest) for name, rest in made.items()])
    before = await admin.describe_topics()
    wanted = wanted_topics(app.topology, durability=safety)
    with suppress(RefusedBySafety):
        await apply(admin, plan(app.topology, wanted, before, named), accept_dedupe_gap=accept)
    after = await admin.describe_topics()
    return before, after, plan(app.topology, wanted, after, named)


@settings(max_examples=cases(200))
@given(made=present, safety=durabilities, named=named, accept=st.booleans())
def test_no_topic_shrinks_and_every_source_exists(made, safety, named, accept):
    """Despite refusals, everything else is applied; a second run changes nothing."""
    before, after, left = asyncio.run(_applied(made, safety, named, accept))
    assert set(after) == set(NAMES)
    for name, was in before.items():
        assert after[name].partitions >= was.partitions
        for setting in SIZES:
            if setting in was.config:
                assert _size(after[name].config[setting]) >= _size(was.config[setting])
    for source in app.topology.topics:
        companions, answers = app.topology.companions(source), app.topology.answers
        served = (*companions, answers[source.name]) if source.name in answers else companions
        for name in served:
            assert after[name].partitions >= after[source.name].partitions, name
    for change in left.to_do:
        assert change.dedupe_gap, change
        assert not accept
    for topic in after.values():
        assert int(topic.config[MIN_INSYNC]) <= topic.replication_factor
        assert topic.config["unclean.leader.election.enable"] == "false"
