"""The way of events into the log, with brokers that go, answers that get lost, and kill -9."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.access.refusals import NotStored, Overloaded
from streams.broker.memory import MemoryBroker
from streams.edge.exchange import Kept
from streams.edge.lane import Bounds, Lane
from streams.edge.numbering import Numbering
from streams.edge.shipment import Shipper
from streams.edge.spool import Spool
from streams.errors import BrokerUnavailable
from streams.simulation.loop import LoopClock, VirtualLoop, run
from streams.telemetry.metrics import Metrics
from streams.types import TopicConfig, TopicPartition

TOPIC = "t"
PARTITIONS = 2
BOUNDS = Bounds(inflight_bytes=5000, spool_bytes=20_000)

CALLS = st.sampled_from(["start", "send", "send_offsets", "commit", "admin"])
PAUSES_S = st.sampled_from([0.0, 0.001, 0.006, 0.3, 0.3, 2.0, 30.0])
moves = st.lists(
    st.one_of(
        st.tuples(
            st.just("post"),
            st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=4), PAUSES_S),
        ),
        st.tuples(st.just("wait"), PAUSES_S),
        st.tuples(st.just("down"), st.none()),
        st.tuples(st.just("up"), st.none()),
        st.tuples(st.just("fail"), st.tuples(CALLS, st.integers(1, 3))),
        st.tuples(st.just("doubt"), st.tuples(st.booleans(), st.just(1))),
        st.tuples(st.just("die_before"), st.tuples(CALLS, st.integers(1, 3))),
        st.tuples(st.just("die"), st.none()),
    ),
    max_size=30,
)


@dataclass
class Post:
    """One request: its values, and the moments (turns of a counter) it was sent and answered."""

    values: list[bytes]
    keys: list[bytes]
    sent: int
    answered: int | None = None
    kept: Kept | None = None
    refused: bool = False


@dataclass
class World:
    """One broker, one folder, one edge at a time."""

    folder: Path
    clock: LoopClock
    broker: MemoryBroker
    posts: list[Post] = field(default_factory=list)
    turn: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def open(self) -> None:
        admin = await self.broker.admin()
        await admin.create_topics([TopicConfig(TOPIC, PARTITIONS, 1, {})])
        self.start()

    def start(self) -> None:
        """An edge as a new process would start it."""
        self.numbering = Numbering(self.folder)
        self.lane = Lane(
            TOPIC,
            shipper=Shipper(self.broker, TOPIC, self.clock),
            spool=Spool(self.folder / "blocks", self.numbering.seed),
            numbering=self.numbering,
            clock=self.clock,
            metrics=Metrics().edge,
            bounds=BOUNDS,
            disk=_slowly,
        )
        self.running = asyncio.create_task(self.lane.run())

    async def die(self) -> None:
        """kill -9: whatever it was doing is not done."""
        self.running.cancel()
        (end,) = await asyncio.gather(self.running, return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError), end
        await asyncio.gather(*self.tasks)
        self.numbering.close()

    async def revive(self) -> None:
        """Start another edge if a fault has killed this one."""
        if self.running.done():
            await self.die()
            self.start()

    async def move(self, move: str, argument) -> None:
        faults = self.broker.faults
        match move:
            case "post":
                self.tasks.append(asyncio.create_task(self.post(argument[0])))
                await asyncio.sleep(argument[1])
            case "wait":
                await asyncio.sleep(argument)
            case "down":
                faults.down()
            case "up":
                faults.up()
            case "fail":
                faults.fail(argument[0], BrokerUnavailable("scripted"), nth=argument[1])
            case "doubt":
                faults.doubt_commit(applied=argument[0], nth=argument[1])
            case "die_before":
                faults.before(argument[0], self._die_soon, nth=argument[1])
            case "die":
                await self.die()
                self.start()

    async def _die_soon(self) -> None:
        self.running.cancel()
        await asyncio.sleep(0)

    async def post(self, keys: list[int]) -> None:
        number = len(self.posts)
        self.turn += 1
        post = Post([b"%d.%d" % (number, i) for i in range(len(keys))],
                    [b"k%d" % key for key in keys], self.turn)  # fmt: skip
        self.posts.append(post)
        try:
            post.kept = await self.lane.keep(post.keys, post.values)
        except (NotStored, Overloaded) as error:
            post.refused = isinstance(error, Overloaded)
        else:
            self.turn += 1
            post.answered = self.turn

    def log(self) -> list[list[bytes]]:
        """The values a consumer would see, partition by partition."""
        return [
            [
                value
                for value in self.broker.log(TopicPartition(TOPIC, n))
                .read_committed(0, 9999)
                .values
                if value is not None
            ]
            for n in range(PARTITIONS)
        ]


async def _slowly(call):
    """The disk of a simulated world: others go on meanwhile."""
    await asyncio.sleep(0.004)
    return call()


async def _play(world: World, moves: list) -> None:
    await world.open()
    for move, argument in moves:
        await world.revive()
        await world.move(move, argument)
    world.broker.faults.heal()
    async with asyncio.timeout(600):
        while not world.lane.straight:
            await asyncio.sleep(0.1)
            await world.revive()
        await asyncio.gather(*world.tasks)
    await world.die()


def _check(world: World) -> None:
    seen = world.log()
    counts = Counter(value for partition in seen for value in partition)
    place = {value: (n, i) for n, values in enumerate(seen) for i, value in enumerate(values)}
    for post in world.posts:
        found = {counts[value] for value in post.values}
        assert len(found) == 1, "a block is stored whole or not at all"
        if post.kept is not None:
            assert found == {1}, "an answered block is there exactly once"
        else:
            assert found <= {0, 1}, "nothing is there twice"
        if post.refused:
            assert found == {0}, "what was turned away is not there"
        inside = [place[value] for value in post.values if counts[value]]
        assert all(a < b for i, a in enumerate(inside) for b in inside[i + 1 :] if a[0] == b[0]), (
            "a block keeps its order"
        )
    for earlier in world.posts:
        for later in world.posts:
            if earlier.answered is not None and earlier.answered < later.sent:
                for a in earlier.values:
                    for b in later.values:
                        if counts[b] and place[a][0] == place[b][0]:
                            assert place[a] < place[b], "what was answered first stands first"


@settings(max_examples=150)
@given(moves)
def test_an_answered_block_is_in_the_log_exactly_once_and_in_order(moves):
    """The promise of a 202, through every death between any two steps of the protocol."""
    with TemporaryDirectory() as folder:
        loop = VirtualLoop()
        clock = LoopClock(loop)
        world = World(Path(folder), clock, MemoryBroker(clock, transaction_timeout_s=20))
        run(loop, _play(world, moves))
        _check(world)
