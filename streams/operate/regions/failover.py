"""Make another region active: F1 to F6 of docs/protocols/regions.md.

Every step reads what is true and goes on from there, so a command that died is run again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from streams.connect.broker.log_range import decided_end, read_some
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.command_errors import RegionBehind
from streams.core.errors import (
    BrokerUnavailable,
    DependencyUnreachable,
    RefusedBySafety,
    UnknownTopic,
)
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.topics.topology import Topology
from streams.core.types import Broker, OffsetOutOfRange, TopicPartition
from streams.operate.regions.mirrored import (
    SeenLogs,
    Unmirrored,
    made_anew,
    missing_of,
    oldest_s,
    records_of,
    sources_of,
    taken,
    that_come,
)
from streams.operate.regions.word import (
    RegionWord,
    every_word,
    journal_of,
    journal_topic,
    newest_of,
    newest_word,
    write_word,
)

LOOK_S = 1.0
NEAR_S = 10.0
"""age of a mirror's oldest missing record at which a change begins"""
REACH_TIMEOUT_S = 15.0

Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """What an operator orders. ``without_old``: go on where the old region's cluster is away, or
    its mirror does not come to its end; what the mirror had not taken is named. ``back``: first
    wait, while the old region serves, for its copies of what the target alone has."""

    target: str
    actor: str
    reason: str
    without_old: bool = False
    back: bool = False
    mirror_timeout_s: float = 300.0
    fold_timeout_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """``missing``: records of other regions that the new one does not have. Durations in seconds."""

    epoch: int
    before: str
    active: str
    missing: tuple[Unmirrored, ...] = ()
    lease_s: float = 0.0
    mirror_s: float = 0.0
    fold_s: float = 0.0
    total_s: float = 0.0


class RegionSwitch:
    """One change of the active region."""

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        topology: Topology,
        clock: Clock,
        lease_s: float,
        say: Say = lambda text: None,
    ) -> None:
        self._brokers = brokers
        self._topology = topology
        self._clock = clock
        self._lease_s = lease_s
        self._say = say
        self._seen: dict[tuple[str, str], SeenLogs] = {}
        """by the region of the log and that of the mirror"""

    async def begin(self, active: str, actor: str) -> None:
        """The first word, in every region: the active one last. Raises `RefusedBySafety` where a
        journal has a word of another region, and `DependencyUnreachable`."""
        words, away = await self.words()
        if away:
            raise DependencyUnreachable(
                f"{', '.join(away)} cannot be reached: the first word is written in every region. "
                "Bring it back and run the command again."
            )
        newest = newest_of(words.values())
        if newest is not None and any(
            word is not None and word.rank != (1, active) for word in words.values()
        ):
            raise RefusedBySafety(
                f"{newest.active} is active in epoch {newest.epoch}. `dia region failover` changes "
                "the active region."
            )
        word = RegionWord(
            epoch=1, active=active, at_ms=self._clock.now_ms(), actor=actor, reason="the first"
        )
        for region in sorted(self._brokers, key=lambda name: name == active):
            await write_word(self._brokers[region], self._topology.app, word, self._clock)

    async def words(self) -> tuple[dict[str, RegionWord | None], list[str]]:
        """The newest word of each region that answers, and the regions that do not."""
        found: dict[str, RegionWord | None] = {}
        away: list[str] = []
        for region, broker in self._brokers.items():
            try:
                found[region] = await self._in_time(self._word_of(broker))
            except UnknownTopic:
                found[region] = None
            except (BrokerUnavailable, DeadlinePassed):
                away.append(region)
        return found, away

    async def _word_of(self, broker: Broker) -> RegionWord | None:
        async with opened(broker.reader()) as reader:
            return await newest_word(reader, journal_of(self._topology.app), self._clock)

    async def run(self, order: Switch) -> Switched:
        """F1 to F6; of a target that is active already, only F2. Raises `RefusedBySafety`, `RegionSuperseded`, `RegionBehind` and
        `DependencyUnreachable`; after the last two no region may be active: run it again."""
        began = self._clock.monotonic()
        words, away = await self.words()
        word, before = self._planned(order, words, away)
        await self._give_journals(name for name, known in words.items() if known is None)
        if before == order.target:
            await self._fence(word, away)
            return Switched(epoch=word.epoch, before=before, active=before)
        await self._require_own_log(order, away)
        if before not in away and not order.without_old:
            await self._ready(order, before, away)
        self._say(f"epoch {word.epoch}: {before} -> {order.target}")
        await self._fence(word, away)
        lease_at = self._clock.monotonic()
        await self._clock.sleep(self._lease_s)
        mirror_at = self._clock.monotonic()
        missing = await self._all_mirrored(order, before, away)
        fold_at = self._clock.monotonic()
        await self._folded(order)
        await write_word(self._brokers[order.target], self._topology.app, word, self._clock)
        done = self._clock.monotonic()
        self._say(f"{order.target} is active in epoch {word.epoch}")
        return Switched(
            epoch=word.epoch,
            before=before,
            active=order.target,
            missing=tuple(missing),
            lease_s=mirror_at - lease_at,
            mirror_s=fold_at - mirror_at,
            fold_s=done - fold_at,
            total_s=done - began,
        )

    def _planned(
        self, order: Switch, words: Mapping[str, RegionWord | None], away: Collection[str]
    ) -> tuple[RegionWord, str]:
        """F1: the word to write, and the region that is active before it. Of a target that is active
        already, its word."""
        if order.target in away:
            raise DependencyUnreachable(
                f"the cluster of {order.target} cannot be reached: it cannot become active."
            )
        newest = newest_of(words.values())
        if newest is None:
            raise RefusedBySafety("no region was ever active. Run `dia region init`.")
        own = words[order.target]
        if newest.active != order.target:
            before, epoch = newest.active, newest.epoch + 1
        elif own is not None and own.rank == newest.rank:
            return newest, newest.active
        else:  # a change that did not come to its end
            before = own.active if own is not None else ""
            if before in ("", order.target):
                before = next(name for name in self._brokers if name != order.target)
            epoch = newest.epoch
        if before in away and not order.without_old:
            raise DependencyUnreachable(
                f"the cluster of {before} cannot be reached. If it is lost, run `dia region "
                f"failover --to {order.target} --without-old`: what the mirror had not taken is "
                "named, and comes when the cluster is back."
            )
        word = RegionWord(
            epoch=epoch,
            active=order.target,
            at_ms=self._clock.now_ms(),
            actor=order.actor,
            reason=order.reason,
        )
        return word, before

    async def _give_journals(self, regions: Iterable[str]) -> None:
        """A cluster that was made anew has none, and no step may fail for it after F2."""
        for name in regions:
            async with opened(self._brokers[name].admin()) as admin:
                await admin.create_topics([journal_topic(self._topology.app)])

    async def _require_own_log(self, order: Switch, away: Sequence[str]) -> None:
        """Raises `RefusedBySafety` where the target's cluster was made anew, and so lacks what the lost one
        took: other regions have copies of it, which no mirror brings back. Once it was active it is its own."""
        target = order.target
        async with opened(self._brokers[target].reader()) as reader:
            words = await every_word(reader, journal_of(self._topology.app), self._clock)
            if any(word.active == target for word in words):
                return
            bounds = await reader.bounds(await sources_of(self._brokers[target], self._topology))
            for name in (one for one in self._brokers if one not in (target, *away)):
                try:
                    copied = await self._in_time(taken(self._brokers[name], target))
                except (BrokerUnavailable, DeadlinePassed) as error:
                    if order.without_old:
                        continue
                    raise DependencyUnreachable(
                        f"nothing was changed: what {name} has of {target} is unknown: {error}"
                    ) from error
                lost = sorted(await made_anew(reader, bounds, copied, SeenLogs()))
                if not lost:
                    continue
                text = (
                    f"the cluster of {target} was made anew: of {len(lost)} partitions, the first {lost[0]}, "
                    f"it lacks what the lost one took and {name} has as copies"
                )
                if not order.without_old:
                    raise RefusedBySafety(
                        f"nothing was changed: {text}. Give it the old disks or a backup of the topics, or run "
                        f"`dia region failover --to {target} --without-old`, which goes on without these records."
                    )
                self._say(text)

    async def _ready(self, order: Switch, before: str, away: Sequence[str]) -> None:
        """Before F2, while the old region serves: the mirror has no old records left, and of a
        failback, the old region has all of the target's own. So no region is off for long."""
        others = [name for name in self._brokers if name not in (order.target, *away)]
        deadline = Deadline(self._clock, order.mirror_timeout_s)
        while True:
            try:
                coming = [
                    one
                    for name in others
                    for one in that_come(await self._missing(name, order.target))
                ]
                going = that_come(await self._missing(order.target, before)) if order.back else []
            except BrokerUnavailable as error:
                raise DependencyUnreachable(f"nothing was changed: {error}") from error
            if oldest_s(coming, self._clock.now_ms()) <= NEAR_S and not going:
                return
            if deadline.left_s <= 0:
                late = going or coming
                raise RegionBehind(
                    f"nothing was changed: a mirror has not copied {records_of(late)} "
                    f"records of {late[0].region}, from {late[0].tp} offset {late[0].first} on, after "
                    f"{order.mirror_timeout_s:g} s. See that it runs; `dia region status` shows "
                    "what is missing."
                )
            await self._clock.sleep(LOOK_S)

    async def _fence(self, word: RegionWord, away: Sequence[str]) -> None:
        """F2: in every region that answers, but the target. The old region's edges refuse within
        their lease, as those of a region that is away do."""
        for region, broker in self._brokers.items():
            if region == word.active or region in away:
                continue
            await write_word(broker, self._topology.app, word, self._clock)
            self._say(f"{region} knows: its edges refuse within {self._lease_s:g} s")

    async def _all_mirrored(
        self, order: Switch, before: str, away: Sequence[str]
    ) -> list[Unmirrored]:
        """F4, of each other region: one that was active earlier may have records that its mirror had not taken,
        and the change to ``before`` may not have come to its end. Of an earlier one that is away, partitions
        are named that its mirror knows."""
        missing: list[Unmirrored] = []
        for name in self._brokers:
            if name != order.target:
                found = await self._mirrored(order, name, old_away=name in away)
                missing += [one for one in found if one.first or name == before or name not in away]
        return missing

    async def _mirrored(self, order: Switch, before: str, *, old_away: bool) -> list[Unmirrored]:
        """F4 of one region. What stays unmirrored: where the old region answers and the order does not go on without
        it, only what its mirror can copy no more."""
        target = self._brokers[order.target]
        deadline = Deadline(self._clock, order.mirror_timeout_s)
        passed = self._seen.setdefault((before, order.target), SeenLogs()).passed
        while not old_away:
            so_far = sum(passed.values())
            try:
                missing = await self._in_time(self._missing(before, order.target))
            except (BrokerUnavailable, DeadlinePassed) as error:
                if sum(passed.values()) > so_far and deadline.left_s > 0:
                    continue  # a long log, not a cluster that is away
                if not order.without_old:
                    raise DependencyUnreachable(
                        f"the cluster of {before} went away while its mirror caught up: {error}. "
                        "Run the command again, with --without-old if the cluster is lost."
                    ) from error
                break
            if not that_come(missing):
                return list(missing)
            if deadline.left_s <= 0:
                if order.without_old:
                    return list(missing)
                raise RegionBehind(
                    f"the mirror to {order.target} has not copied {records_of(missing)} "
                    f"records of {before}, in {len(missing)} partitions, after "
                    f"{order.mirror_timeout_s:g} s. See that it runs, and run the command again; "
                    "--without-old goes on without these records."
                )
            await self._clock.sleep(LOOK_S)
        copied = await taken(target, before)
        return [
            Unmirrored(before, tp, copied.get(tp, 0), None, None, None)
            for tp in await sources_of(target, self._topology)
        ]

    async def _missing(self, name: str, target: str) -> tuple[Unmirrored, ...]:
        """What the mirror of region ``name`` has not copied to ``target``. Raises `BrokerUnavailable`."""
        seen = self._seen.setdefault((name, target), SeenLogs())
        return await missing_of(
            self._brokers[name], self._brokers[target], self._topology, name, seen
        )

    async def _folded(self, order: Switch) -> None:
        """F5: until the target's groups committed all that its sources hold now."""
        target = self._brokers[order.target]
        deadline = Deadline(self._clock, order.fold_timeout_s)
        async with opened(target.reader()) as reader:
            ends = {
                tp: await decided_end(reader, tp, self._clock)
                for tp in await sources_of(target, self._topology)
            }
        while behind := await self.unfolded(target, ends):
            if deadline.left_s <= 0:
                tp, at = next(iter(behind.items()))
                raise RegionBehind(
                    f"{order.target} has not folded {len(behind)} partitions after "
                    f"{order.fold_timeout_s:g} s, among them {tp} from offset {at} to {ends[tp]}. "
                    "See that its workers run (`dia status`), and run the command again."
                )
            await self._clock.sleep(LOOK_S)

    async def unfolded(
        self, broker: Broker, ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Partitions with records between their group's committed offset, which is given, and
        ``ends``. Transaction markers are no records."""
        found: dict[TopicPartition, int] = {}
        async with opened(broker.admin()) as admin, opened(broker.reader()) as reader:
            for group, topic in self._topology.sources():
                own = [tp for tp in ends if tp.topic == topic.name]
                committed = await admin.committed(group, own)
                for tp in own:
                    at = committed[tp].offset if tp in committed else 0
                    at = max(at, await reader.beginning_offset(tp))
                    while at < ends[tp]:
                        try:
                            batch = await read_some(reader, tp, at, ends[tp])
                        except OffsetOutOfRange:
                            found[tp] = at  # deleted meanwhile: the next look begins behind it
                            break
                        if len(batch) and batch.offsets[0] < ends[tp]:
                            found[tp] = at
                            break
                        at = batch.end
        return found

    async def _in_time(self, asking: Awaitable[T]) -> T:
        return await Deadline(self._clock, REACH_TIMEOUT_S).wait(asking)
