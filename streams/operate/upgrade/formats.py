"""Whether this version reads the state that the running version has written.

A restore begins at a changelog's first record, and versions rise along the log: so the first and the last
record tell the formats of all. No state is built, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable

from streams.core.errors import BrokerUnavailable, ChangelogGap, UnknownFormat
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.operate.trace.covering_link import link_at
from streams.operate.upgrade.upgrade_finding import UpgradeFinding, UpgradeState

_TRIMMED_MAX = 5
_STEP_BACK = 8
"""The end of a log is markers of transactions, which hold no link."""


async def examine_formats(
    reader: LogReader, changelogs: Iterable[TopicPartition]
) -> list[UpgradeFinding]:
    """One finding for each changelog that this version cannot read, else one for all of them.

    Raises `BrokerUnavailable` and `UnknownTopic`.
    """
    looked, found = 0, []
    for changelog in changelogs:
        looked += 1
        try:
            await _look(reader, changelog)
        except (UnknownFormat, ChangelogGap) as error:
            detail = f"{changelog}: {error}"
            mend = "keep the running version, then dia audit"
            found.append(UpgradeFinding("state", UpgradeState.REFUSED, detail, mend))
    if found:
        return found
    detail = f"the formats of {looked} changelog partitions are read by this version"
    return [UpgradeFinding("state", UpgradeState.READY, detail)]


async def _look(reader: LogReader, changelog: TopicPartition) -> None:
    for _ in range(_TRIMMED_MAX):
        try:
            bounds = (await reader.bounds([changelog]))[changelog]
            await link_at(reader, changelog, bounds.begin, bounds.stable_end)
            await _newest(reader, changelog, bounds.begin, bounds.stable_end)
        except OffsetOutOfRange:
            continue
        return
    raise BrokerUnavailable(
        f"{changelog} was trimmed {_TRIMMED_MAX} times while it was read. Try again."
    )


async def _newest(reader: LogReader, changelog: TopicPartition, begin: int, end: int) -> None:
    back = 1
    while begin < end:
        at = max(begin, end - back)
        found = await link_at(reader, changelog, at, end)
        if found is not None:
            while found is not None:
                found = await link_at(reader, changelog, found.at + 1, end)
            return
        if at == begin:
            return
        back *= _STEP_BACK
