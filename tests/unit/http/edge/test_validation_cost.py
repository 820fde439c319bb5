"""Validation time in the event loop that all tenants share: its bounds, and who is charged."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.app import app
from streams.connect.access.quotas import PERIOD_S, Quota, Quotas
from streams.connect.access.refusals import BadRequest, BodyTooLarge
from streams.connect.access.tokens import AccessToken, Role
from streams.core.clock import VirtualClock
from streams.core.telemetry.metrics import Metrics
from streams.engine.decode.codecs import Limits
from streams.http.edge import splitting
from streams.http.edge import validation_cost as judging_module
from streams.http.edge import validator as intake_module
from streams.http.edge.exchange import EVENTS_MAX, JSON, NDJSON, REJECTED_MAX
from streams.http.edge.validation_cost import (
    AT_ONCE_EVENTS,
    SLICE_BYTES,
    SLICE_EVENTS,
    SUSPECT_SLICE_EVENTS,
    LoopShare,
    ValidationCost,
    slices,
)
from streams.http.edge.validator import Validator, topics_taken

LIMITS = Limits(future_max_s=300, late_max_s=604_800)
METRICS = "/v1/events/model.metrics"
LINES = {"Content-Type": NDJSON}


class Stopwatch:
    """Processor time that advances only when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class CountedLoop(LoopShare):
    """Counts turns of the event loop; the test sets the processor time."""

    def __init__(self, tick_s: float = 0.0) -> None:
        self.watch, self.turns = Stopwatch(), 0
        super().__init__(self._look)
        self._tick_s = tick_s

    def _look(self) -> float:
        self.watch.now_s += self._tick_s
        return self.watch()

    async def turn(self) -> None:
        self.turns += 1
        await super().turn()


@asynccontextmanager
async def asking(process, http, loop, quotas=None):
    """A client of the same edge with the test's loop and quotas."""
    while not process.intake.lanes["model.metrics"].direct:  # noqa: ASYNC110 - a lane has no notification
        await asyncio.sleep(0.001)  # > before that, events go to the spool
    process.intake._loop = loop
    edge = replace(process._edge, quotas=quotas) if quotas is not None else process._edge
    transport = httpx.ASGITransport(edge.app())
    async with httpx.AsyncClient(
        transport=transport, base_url="http://edge", headers=http.headers
    ) as client:
        yield client


@given(
    sizes=st.lists(st.integers(0, SLICE_BYTES * 2), max_size=30),
    many=st.integers(0, 3),
    rejected_at=st.integers(0, 2000),
)
def test_slices_contain_every_event_once_and_are_bounded(sizes, many, rejected_at):
    """An event larger than a slice is a slice of its own; events that may be rejected come in small
    slices.
    """
    values = [b"x" * (size if size < 40 else size // 40) for size in sizes] * (1 + 40 * many)
    cut, rejected = [], []
    for start, stop in slices(values, rejected):
        suspect = start == 0 or bool(rejected)
        assert 0 < stop - start <= (SUSPECT_SLICE_EVENTS if suspect else SLICE_EVENTS)
        assert stop - start == 1 or sum(map(len, values[start:stop])) <= SLICE_BYTES
        cut.append((start, stop))
        rejected += [at for at in range(start, stop) if at == rejected_at]
    assert [at for start, stop in cut for at in range(start, stop)] == [*range(len(values))]


def test_a_slice_is_full_at_its_bytes_and_an_event_beyond_them_is_alone():
    """The work of one turn is bounded in bytes, too, and no turn is empty."""
    half = b"x" * (SLICE_BYTES // 2)
    assert [*slices([half, half, b"y"], [])] == [(0, 2), (2, 3)]
    assert [*slices([half * 3, half, half, b"y"], [])] == [(0, 1), (1, 3), (3, 4)]


async def test_a_large_body_is_validated_completely_in_turns(process, http, line, log):
    """Each slice waits for its turn, so other requests are answered between two slices."""
    loop = CountedLoop()
    body = b"\n".join(line(event_id=f"e{n}") for n in range(EVENTS_MAX))
    async with asking(process, http, loop) as client:
        answer = await client.post(METRICS, content=body, headers=LINES)
    assert (answer.status_code, answer.json()["accepted"]) == (202, EVENTS_MAX)
    assert loop.turns == 1 + -(-(EVENTS_MAX - SUSPECT_SLICE_EVENTS) // SLICE_EVENTS)
    assert len({json.loads(value)["event_id"] for _, value in log()}) == EVENTS_MAX


async def test_a_small_body_waits_for_no_turn(process, http, line):
    """Its validation takes less time than a turn of the loop."""
    loop = CountedLoop()
    body = b"\n".join(line(event_id=f"e{n}") for n in range(AT_ONCE_EVENTS))
    async with asking(process, http, loop) as client:
        assert (await client.post(METRICS, content=body, headers=LINES)).status_code == 202
    assert loop.turns == 0


async def test_bodies_take_turns_slice_by_slice():
    """With many bodies at once, one slice runs per turn of the loop."""
    loop, done = LoopShare(), []

    async def body(name):
        for number in range(3):
            await loop.turn()
            done.append((name, number, asyncio.get_running_loop().time()))

    await asyncio.gather(*(body(name) for name in "abc"))
    assert [(name, number) for name, number, _ in done] == [
        (name, number) for number in range(3) for name in "abc"
    ]


async def test_validation_stops_after_many_refused_events_and_counts_the_rest(
    process, http, line, log
):
    """10,000 invalid events would take 0.15 s of the event loop that all tenants share."""
    loop = CountedLoop()
    good = b"\n".join(line(event_id=f"e{n}") for n in range(10))
    body = good + b"\n" + b"1\n" * REJECTED_MAX + b"\n".join([good] * 100)
    async with asking(process, http, loop) as client:
        answer = await client.post(METRICS, content=body, headers=LINES)
    found = answer.json()
    judged = REJECTED_MAX + SUSPECT_SLICE_EVENTS
    assert answer.status_code == 207
    assert found["rejected_total"] == REJECTED_MAX
    assert found["not_judged"] == 10 + REJECTED_MAX + 1000 - judged
    assert found["accepted"] == judged - REJECTED_MAX
    assert len(log()) == found["accepted"], "events that were not validated must not be stored"
    assert loop.turns == judged // SUSPECT_SLICE_EVENTS


async def test_refused_events_are_charged_to_their_tenant(process, http, line):
    """The charge is processor time, whatever the kind of invalid event; valid events are free."""
    clock = VirtualClock()
    limits = dict.fromkeys(Quota, 1 << 40) | {Quota.REFUSED_US: 1_000_000}
    quotas = Quotas(clock, Metrics().edge, limits=limits)
    loop = CountedLoop(tick_s=0.75)
    async with asking(process, http, loop, quotas) as client:
        for _ in range(9):
            assert (await client.post(METRICS, content=line(), headers=LINES)).status_code == 202
        for _ in range(2):  # > 0.75 s each: the second is admitted and exceeds the limit
            assert (await client.post(METRICS, content=b"1", headers=LINES)).status_code == 422
        answer = await client.post(METRICS, content=line(), headers=LINES)
        assert (answer.status_code, answer.json()["code"]) == (429, "over_quota")
        assert "1 s of the processor for events that are refused" in answer.json()["detail"]
        wait_s = int(answer.headers["retry-after"])
        assert 0 < wait_s <= PERIOD_S
        await clock.advance(wait_s)
        assert (await client.post(METRICS, content=line(), headers=LINES)).status_code == 202


async def test_a_half_refused_body_is_charged_half_of_its_time():
    """The tenant pays for invalid events only."""
    loop = CountedLoop(tick_s=0.5)
    judging = ValidationCost(loop)
    judging.begin()
    judging.refused(2, 4)
    assert judging.refused_us == 250_000


async def test_the_time_of_others_is_not_counted():
    """Between two turns the processor works for other tenants."""
    loop = CountedLoop()
    loop.watch.now_s = 50.0
    judging = ValidationCost(loop)

    async def other():
        loop.watch.now_s += 100.0

    with pytest.raises(BadRequest), judging.cutting():  # noqa: PT012 - a whole body
        busy = asyncio.create_task(other())
        loop.watch.now_s += 1.0
        await judging.turn()
        await busy
        raise BadRequest("no array")
    assert judging.refused_us == 1_000_000


async def test_an_array_of_many_commas_is_split_in_turns():
    """Millions of tiny elements would take the event loop for 0.3 s before they exceed the limit."""
    loop = CountedLoop()
    with pytest.raises(BodyTooLarge, match="more than 10000"):
        await splitting.events(b"[" + b"{}," * 1_300_000 + b"{}]", JSON, ValidationCost(loop))
    assert loop.turns == 3 * EVENTS_MAX // splitting.TOKENS_A_TURN


async def test_blank_lines_are_counted_before_they_are_split():
    """Four million blank lines would take 0.2 s."""
    with pytest.raises(BodyTooLarge, match="at most 20000 lines"):
        await splitting.events(b"\n" * (1 << 20), NDJSON, ValidationCost(LoopShare()))


class KeptLane:
    """Accepts every block."""

    def __init__(self):
        self.kept = []

    async def keep(self, keys, values, traceparent, version):
        self.kept += zip(keys, values, strict=True)
        return "log"


NOW_MS = 1_760_000_000_000
EVENTS = st.sampled_from(
    [
        b"1",
        b"{",
        b"\xff",
        *(
            json.dumps(
                {"tenant_id": tenant, "model_id": "m", "metric": "x", "ts": at, "value": 1.0}
            ).encode()
            for tenant in ("acme", "globex")
            for at in (NOW_MS, 1)
        ),
    ]
)
TOKEN = AccessToken(id="id", tenant="acme", role=Role.OPERATE.name.lower(), sha256="", created_ms=0)


@given(st.lists(EVENTS, min_size=1, max_size=30), st.integers(1, 8))
def test_slices_give_the_same_result_as_the_whole_body(values, size):
    """Each event is accepted or refused as if the whole body were validated at once, in its order."""

    async def taken():
        lane, loop = KeptLane(), LoopShare()
        lanes = dict.fromkeys(topics_taken(app.topology), lane)
        clock = VirtualClock(start_ms=NOW_MS)
        intake = Validator(app.topology, lanes, clock, LIMITS, Metrics().edge, loop)
        judging = intake.judging()
        return await intake.take(app.topics["model.metrics"], values, TOKEN, judging), lane.kept

    whole, kept = asyncio.run(taken())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(judging_module, "SLICE_EVENTS", size)
        patched.setattr(judging_module, "SUSPECT_SLICE_EVENTS", size)
        patched.setattr(intake_module, "AT_ONCE_EVENTS", 0)
        sliced, kept_sliced = asyncio.run(taken())
    assert (sliced, kept_sliced) == (whole, kept)
    assert whole.accepted + len(whole.bad) == len(values)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(documents, min_size=1, max_size=8), st.sampled_from(["", " ", "\n\t"]))
def test_both_ways_to_split_an_array_find_the_same_elements(elements, blank):
    """Byte for byte: an event without an id is identified by its bytes."""
    texts = [json.dumps(element, ensure_ascii=False).encode() for element in elements]
    body = b"[" + (blank.encode() + b",").join(texts) + b"]" + blank.encode()
    assert list(filter(None, splitting._cut(body))) == splitting._documents(body) == texts


@given(st.binary(max_size=40).map(lambda inner: b"[" + inner + b"]"))
def test_every_array_is_split_or_refused(body):
    """If msgspec decodes the array, the tokens give the same elements; otherwise no other error is
    raised.
    """
    try:
        found = list(filter(None, splitting._cut(body)))
    except BadRequest:
        found = None
    try:
        whole = splitting._documents(body)
    except BadRequest:
        return
    if whole:
        assert found == whole
