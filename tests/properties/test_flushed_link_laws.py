"""F1 to F4: the local store after a kill -9, and its trimmed changelog."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.runtime.restore.trim import ChangelogTrim
from streams.engine.state.memory import MemoryDisk
from tests.depth import cases
from tests.unit.engine.runtime.conftest import CHANGELOG, Rig

steps = st.lists(
    st.sampled_from(["commit", "commit", "commit", "commit again", "flush", "kill", "stop"]),
    min_size=4,
    max_size=40,
)


class _CountedDisk(MemoryDisk):
    """A disk that counts the fresh folders given to a partition."""

    fresh = 0

    def __call__(self, tp, fresh):
        self.fresh += fresh
        return super().__call__(tp, fresh)


async def _follow(plan, commits_between):
    rig = Rig()
    rig.disk = _CountedDisk()
    await rig.create_topics()
    partition = await rig.open()
    trim = ChangelogTrim(rig.broker, commits_between)
    for step in plan:
        state = partition.state
        if step.startswith("commit"):
            await rig.commit_events(1, **({"event_id": "again"} if "again" in step else {}))
            await trim.after(state)
        elif step == "flush":
            state.store.flush()
        else:
            before, flushed, link = rig.partition.progress, state.store.flushed_to, state.link
            kept = state.store.written_to if step == "stop" else flushed
            if step == "stop":
                state.store.close()
            partition = await rig.open()
            trim = ChangelogTrim(rig.broker, commits_between)
            assert partition.state.link == link or link.seq == 0
            assert partition.progress == before
            # One record per link and one write per link: exactly the unflushed links are read
            # again.
            assert rig.opened.restored_records == state.store.written_to - kept
    return rig


@settings(max_examples=cases(60))
@given(plan=steps, commits_between=st.integers(1, 3))
def test_a_kill_loses_only_unflushed_links(plan, commits_between):
    """The store is the state after one link, the changelog holds all later links, and no start
    needs a fresh folder."""
    rig = asyncio.run(_follow([*plan, "kill"], commits_between))
    assert rig.disk.fresh == 0


def test_the_changelog_is_trimmed_up_to_the_flush():
    """Otherwise the law above would hold for a log that is never trimmed."""
    rig = asyncio.run(_follow(["commit again"] * 40, 1))
    assert rig.log(CHANGELOG).start_offset > 20
