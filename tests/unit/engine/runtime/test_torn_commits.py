"""Partly committed transactions: the partition resumes and counts each record once."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS, app
from streams.core.errors import CommitInDoubt, DiaError, RefusedBySafety
from streams.core.types import TopicPartition
from streams.operate.reset.reset import look, open_epoch, reset
from tests.unit.engine.runtime.running_world import HERE, counted, held, history, send, until

CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), HERE.partition)


def settled(world, process):
    committed = world.broker.committed(DIA_GROUP, HERE)
    return committed is not None and committed.offset == held(process, HERE).next_offset


@pytest.mark.parametrize("earlier", [0, 5], ids=["the first commit", "a later commit"])
@pytest.mark.parametrize("offsets_stand", [True, False], ids=["offset stands", "link stands"])
def test_a_torn_commit_is_repaired_without_an_operator(earlier, offsets_stand):
    """Three brokers may do this when a coordinator is killed and restarted: the offset is committed
    and the changelog's record aborted, or the other way round. No record is lost.
    """

    async def story(world, process):
        if earlier:
            await send(world, HERE, earlier)
            await until(lambda: counted(world, HERE) == earlier and settled(world, process))
        world.broker.faults.tear_commit(offsets_stand=offsets_stand)
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == earlier + 3 and settled(world, process))
        assert not world.broker.faults.tears
        await asyncio.sleep(60.0)
        assert counted(world, HERE) == earlier + 3
        assert held(process, HERE).stopped_by is None

    history(story)


@pytest.mark.parametrize("second", [True, False], ids=["offset stands", "link stands"])
def test_a_commit_may_be_torn_twice(second):
    """The link of the second attempt may be committed while the group still has the offset of the
    first, whose link is aborted. The changelog has a link of that number and lacks none.
    """

    async def story(world, process):
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == 3 and settled(world, process))
        faults = world.broker.faults
        faults.tear_commit(offsets_stand=True)
        await send(world, HERE, 3)
        while faults.tears:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        faults.tear_commit(offsets_stand=second)
        while faults.tears:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        await until(lambda: counted(world, HERE) == 6 and settled(world, process))
        await asyncio.sleep(60.0)
        assert counted(world, HERE) == 6
        assert held(process, HERE).stopped_by is None

    history(story)


def test_a_lost_commit_does_not_count_as_torn():
    """The commit was aborted once, then made, then lost with its leader: only the second attempt's
    offset is left. Folding the records again would count them twice.
    """

    async def story(world, process):
        world.broker.faults.tear_commit(offsets_stand=True)
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == 3 and settled(world, process))
        await process.kill()
        log = world.broker.log(CHANGELOG)
        [made, *_] = log.readable().offsets
        assert log.read_all(0, 1, made).offsets == [0], (
            "the aborted attempt must still be in the log"
        )
        log.lose_tail(made)
        assert await stop_on(world, "bereaved") == "changelog_lost"
        process.start()

    history(story)


def test_a_torn_commit_behind_a_lost_one_hides_no_loss():
    """The death of a broker may lose one commit and tear the next: the changelog ends before the
    lost one, so the torn one does not follow its last link.
    """

    async def story(world, process):
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 5 and settled(world, process))
        log = world.broker.log(CHANGELOG)
        whole = log.high_watermark
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 10 and settled(world, process))
        log.lose_tail(whole)
        world.broker.faults.tear_commit(offsets_stand=True)
        await send(world, HERE, 5)
        while world.broker.faults.tears:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        await process.kill()
        assert await stop_on(world, "bereaved") == "changelog_lost"
        process.start()

    history(story)


def test_a_torn_reset_leaves_the_partition_stopped_until_a_second_reset():
    """The reset's offset replaces the one that proved the loss. Without its link the reset has no
    effect, and the partition must not resume from the rest of the changelog.
    """

    async def story(world, process):
        for number in range(3):
            await send(world, HERE, 5)
            await until(lambda: counted(world, HERE) == 5 * (number + 1))  # noqa: B023
            await asyncio.sleep(30.0)
        await process.kill()
        log = world.broker.log(CHANGELOG)
        log.lose_tail(log.readable().offsets[-1])
        assert await stop_on(world, "bereaved") == "changelog_lost"
        world.broker.faults.tear_commit(offsets_stand=True)
        with pytest.raises(DiaError, match="unknown") as raised:
            await renew(world)
        assert isinstance(raised.value.__cause__, CommitInDoubt)
        assert await stop_on(world, "after the torn reset") == "changelog_lost"
        await renew(world)
        again = world.process(1)
        again.start()
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 20)
        await again.stop()
        process.start()

    history(story)


@pytest.mark.parametrize("cause", ["changelog_gap", "source_truncated"])
def test_a_reset_resumes_before_the_records_of_a_torn_commit(cause):
    """Another error stops the partition before it repairs the torn commit, whose offset covers
    records that no link counts.
    """

    async def story(world, process):
        for number in range(3):
            await send(world, HERE, 3)
            await until(lambda: counted(world, HERE) == 3 * (number + 1))  # noqa: B023
            await asyncio.sleep(30.0)
        world.broker.faults.tear_commit(offsets_stand=True)
        await send(world, HERE, 3)
        while world.broker.faults.tears:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        await process.kill()
        assert world.broker.committed(DIA_GROUP, HERE).offset == 12
        log = world.broker.log(CHANGELOG)
        truncated = cause == "source_truncated"
        if truncated:
            world.broker.log(HERE).trim(10)
        else:
            log.spoil(log.readable().offsets[0], log.readable().offsets[0] + 1)
        assert await stop_on(world, "bereaved") == cause
        if truncated:
            with pytest.raises(RefusedBySafety, match="offsets 9 to 9 were never consumed"):
                await renew(world)
        opened = await renew(world, resume_at_start=truncated)
        assert opened.link.next_offset == (10 if truncated else 9)
        assert opened.skipped == ((9, 10) if truncated else None)
        again = world.process(1)
        again.start()
        await until(lambda: counted(world, HERE) == (11 if truncated else 12))
        await again.stop()
        process.start()

    history(story)


async def renew(world, *, resume_at_start=False):
    found = await look(world.broker, DIA_GROUP, MODEL_METRICS, HERE.partition, app.targets)
    return await reset(
        world.broker, world.clock, open_epoch(found, resume_at_start=resume_at_start)
    )


async def stop_on(world, host):
    """The code of the stop on a host without local state."""
    process = world.process(0, host)
    process.start()
    await until(lambda: any(HERE in group.partitions for group in process.worker.groups))
    await until(lambda: held(process, HERE).stopped_by is not None)
    code = held(process, HERE).stopped_by.code
    await process.stop()
    return code
