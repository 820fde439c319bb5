"""When a partition that a storm stopped goes on: an operator's word, or another owner's commit."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import VirtualClock, settle
from streams.core.errors import CommitInDoubt, PoisonStorm, SourceTruncated
from streams.core.types import CommittedOffset, TopicConfig, TopicPartition
from streams.engine.runtime.poison.poison_register import (
    CODES_MAX,
    LET_THROUGH,
    LOOK_S,
    PoisonRegister,
    Word,
    read_words,
    write_word,
)

TP = TopicPartition(MODEL_METRICS.name, 0)
STOP = 40
TIMEOUT_S = 4.0


def _storm(**codes):
    error = PoisonStorm("most records are bad", offset=STOP, bad=20, records=30)
    error.codes = Counter(codes)
    return error


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
async def broker(clock):
    made = MemoryBroker(clock)
    await (await made.admin()).create_topics([TopicConfig(TP.topic, 1, 1, {})])
    return made


@pytest.fixture
async def producer(broker):
    started = broker.transactional_producer("owner")
    await started.start()
    return started


@pytest.fixture
def register(broker, clock):
    return PoisonRegister(broker, DIA_GROUP, clock, TIMEOUT_S)


@pytest.fixture
async def waiting(register):
    """A partition that waits at the storm."""
    task = asyncio.create_task(register.let_through(TP, _storm()))
    await settle()
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _look(clock):
    await clock.advance(LOOK_S)
    await settle()


def _commit(broker, offset):
    """As an owner of the partition commits."""
    done = CommittedOffset(offset, "epoch=0 seq=7 at=9")
    broker._cluster.commit_offsets(DIA_GROUP, {TP: done})


async def _release(producer, clock, until):
    word = Word(state=LET_THROUGH, offset=until, at_ms=clock.now_ms(), actor="ann")
    await write_word(producer, DIA_GROUP, TP, word)


@pytest.mark.parametrize(("until", "released"), [(STOP, False), (STOP + 1, True)])
async def test_a_word_releases_the_stop_only_if_its_range_holds_it(
    waiting, producer, clock, until, released
):
    """The word of an earlier storm stays in the register."""
    await _release(producer, clock, until)
    await _look(clock)
    assert waiting.done() is released
    assert not released or waiting.result() is True


@pytest.mark.parametrize(("offset", "passed"), [(STOP, False), (STOP + 1, True)])
async def test_another_owner_that_passed_the_stop_releases_it(
    waiting, broker, clock, offset, passed
):
    """The group may have given it the partition, and taken it back, unnoticed."""
    _commit(broker, offset)
    await _look(clock)
    assert waiting.done() is passed
    assert not passed or waiting.result() is True


async def test_a_broker_that_is_away_keeps_the_partition_waiting(waiting, broker, producer, clock):
    """No answer is no release, and ends no wait."""
    await _release(producer, clock, STOP + 1)
    broker.faults.down()
    await _look(clock)
    assert not waiting.done()
    broker.faults.up()
    await _look(clock)
    assert waiting.result() is True


async def test_the_word_of_a_release_counts_nothing(broker, producer, clock):
    """The console shows the figures of the storm beside a stop only."""
    await _release(producer, clock, STOP)
    word = (await read_words(await broker.admin(), DIA_GROUP, [TP]))[TP]
    assert (word.offset, word.bad, word.records, word.codes) == (STOP, 0, 0, {})


async def test_another_stop_waits_for_no_word_about_poison(register, broker, clock):
    """Its way out is a reset."""
    assert await register.let_through(TP, SourceTruncated("the log is shorter")) is False


async def test_the_word_of_a_storm_names_its_most_frequent_defects(
    register, broker, producer, clock
):
    """A broker keeps 4 KiB beside an offset, and an operator reads the first lines."""
    codes = {f"code_{number}": number + 1 for number in range(CODES_MAX + 3)}
    await register.tell(TP, _storm(**codes), producer)
    word = (await read_words(await broker.admin(), DIA_GROUP, [TP]))[TP]
    assert (word.state, word.offset, word.bad, word.records) == ("stopped", STOP, 20, 30)
    assert list(word.codes.values()) == [8, 7, 6, 5, 4]


@pytest.mark.parametrize("error", [SourceTruncated("the log is shorter"), None])
async def test_only_a_storm_of_an_open_partition_is_told(register, broker, producer, error):
    """Another error in the register would hold the partition for a wrong reason. Without a producer
    the partition is another process's."""
    if error is None:
        await register.tell(TP, _storm(), None)
    else:
        await register.tell(TP, error, producer)
    assert await read_words(await broker.admin(), DIA_GROUP, [TP]) == {}


async def test_a_word_that_takes_too_long_is_in_doubt(register, broker, producer, clock):
    """The partition restarts instead of hanging at a broker that does not answer."""
    broker.faults.delay("commit", 10 * TIMEOUT_S)
    task = asyncio.create_task(register.tell(TP, _storm(), producer))
    await settle()
    await clock.advance(TIMEOUT_S)
    with pytest.raises(CommitInDoubt, match="took too long"):
        await task
