"""The edge client: it sends no invalid event, loses no valid one, and waits as the edge asks."""

from __future__ import annotations

import asyncio
import json

import httpx
import msgspec
import pytest

from agents.app import app
from streams.connect.access.refusals import Forbidden, NotStored, RequestRefused, Unauthenticated
from streams.core.clock import SystemClock
from streams.http.edge import client as module
from streams.http.edge.client import EdgeClient

TOPIC = "model.metrics"


class _Impatient(SystemClock):
    """Records the requested waits and returns at once."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.waited.append(delay_s)
        await asyncio.sleep(0)

    def monotonic(self) -> float:
        return sum(self.waited)


class _Scripted(httpx.AsyncBaseTransport):
    """Gives scripted answers first, then forwards requests."""

    def __init__(self, script, inner=None) -> None:
        self.script = list(script)
        self.inner = inner
        self.bodies: list[bytes] = []
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True

    async def handle_async_request(self, request):
        body = await request.aread()
        self.bodies.append(body)
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            return step
        return await self.inner.handle_async_request(
            httpx.Request(request.method, request.url, headers=request.headers, content=body)
        )


@pytest.fixture
def inner(process):
    return httpx.ASGITransport(process.app())


def made(tokens, transport, clock=None, **options) -> EdgeClient:
    return EdgeClient(
        "http://edge", tokens["operate"], app.topology, transport=transport, clock=clock, **options
    )


async def test_events_arrive_in_order_and_the_refused_are_named(
    inner, tokens, log, event, monkeypatch
):
    """Also over several batches: an index is that of the caller's list, not of a request."""
    monkeypatch.setattr(module, "BATCH_EVENTS", 3)
    events = [event(value=n) for n in range(8)]
    events[2], events[5] = event(value="x"), event(tenant_id="other")
    async with made(tokens, inner) as client:
        posted = await client.post(TOPIC, events)
    assert posted.accepted == 6
    assert [(bad.index, bad.code) for bad in posted.rejected] == [
        (2, "wrong_type"),
        (5, "tenant_mismatch"),
    ]
    async with asyncio.timeout(200):
        while len(log()) < 6:  # noqa: ASYNC110 - a log has no notification
            await asyncio.sleep(0.01)
    assert [json.loads(value)["value"] for _, value in log()] == [0, 1, 3, 4, 6, 7]


async def test_requests_hold_no_more_bytes_than_their_bound(inner, tokens, event, monkeypatch):
    """An edge refuses a larger body as a whole. An event beyond the bound goes alone."""
    events = [event(value=n) for n in range(6)]
    size = len(msgspec.json.encode(events[0]))
    monkeypatch.setattr(module, "BATCH_BYTES", 2 * size + 1)
    transport = _Scripted([], inner)
    async with made(tokens, transport) as client:
        assert (await client.post(TOPIC, events)).accepted == 6
        assert [len(body) for body in transport.bodies] == [2 * size + 1] * 3
        monkeypatch.setattr(module, "BATCH_BYTES", size - 1)
        assert (await client.post(TOPIC, events[:2])).accepted == 2
    assert [len(body) for body in transport.bodies[3:]] == [size, size]


async def test_a_client_that_ends_leaves_no_connection(tokens, event):
    """Each post of a script may use a client of its own."""
    transport = _Scripted([])
    async with made(tokens, transport):
        assert not transport.closed
    assert transport.closed


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(400, json={"detail": "no such topic"}), "no such topic"),
        (httpx.Response(400, content=b"<html>"), "Bad Request"),
    ],
)
async def test_a_refusal_has_the_words_of_the_edge_or_of_the_proxy(tokens, event, answer, words):
    """Without any words nothing can be mended."""
    async with made(tokens, _Scripted([answer])) as client:
        with pytest.raises(RequestRefused, match=words):
            await client.post(TOPIC, [event()])


async def test_events_that_were_not_validated_are_sent_again_with_their_index(
    inner, tokens, event, log
):
    """An edge stops after too many refusals; the client sends the rest of the body again."""
    bad = [{"index": 0, "code": "c", "message": "m", "path": "$"}]
    left = {"accepted": 1, "stored": "log", "rejected": bad, "rejected_total": 1, "not_judged": 3}
    none = {"detail": "no", "rejected": bad, "rejected_total": 1, "not_judged": 2}
    transport = _Scripted([httpx.Response(207, json=left), httpx.Response(422, json=none)], inner)
    async with made(tokens, transport) as client:
        posted = await client.post(TOPIC, [event(value=n) for n in range(5)])
    assert (posted.accepted, [one.index for one in posted.rejected]) == (3, [0, 2])
    assert [body.count(b"\n") + 1 for body in transport.bodies] == [5, 3, 2]


async def test_invalid_events_are_not_sent(tokens, event):
    """The client validates like the edge, without a request."""
    transport = _Scripted([])
    async with made(tokens, transport) as client:
        posted = await client.post(TOPIC, [event(value=float("nan")), event(ts=-1), {}])
    assert [bad.code for bad in posted.rejected] == ["wrong_type", "out_of_range", "missing_field"]
    assert transport.bodies == []


async def test_it_waits_for_retry_after_and_sends_the_same_bytes(inner, tokens, event, log):
    """If the first attempt was stored, ids make the repeated bytes harmless."""
    script = [
        httpx.Response(429, headers={"Retry-After": "7"}),
        httpx.ConnectError("refused"),
        httpx.Response(503, content=b"<html>a proxy's page</html>"),
    ]
    transport, clock = _Scripted(script, inner), _Impatient()
    async with made(tokens, transport, clock) as client:
        posted = await client.post(TOPIC, [event()])
    assert posted.accepted == 1
    assert clock.waited[0] == 7.0
    assert len(transport.bodies) == 4
    assert len(set(transport.bodies)) == 1


@pytest.mark.parametrize(
    "answer", [httpx.Response(202, text="<html>queued</html>"), httpx.DecodingError("no gzip")]
)
async def test_an_answer_that_is_no_receipt_is_asked_for_again(inner, tokens, event, answer):
    """A proxy may answer in the edge's place. The sender of a training would end by another error,
    and with it all points that it keeps."""
    edge = _Scripted([answer], inner)
    async with made(tokens, edge, _Impatient()) as client:
        assert (await client.post(TOPIC, [event()])).accepted == 1
    first, second = edge.bodies
    assert first == second


async def test_the_number_of_attempts_is_bounded(tokens, event):
    """The caller gets an error after a bounded number of attempts."""
    transport, clock = _Scripted([httpx.ConnectError("refused")] * 99), _Impatient()
    async with made(tokens, transport, clock, patience_s=20) as client:
        with pytest.raises(NotStored, match="did not answer"):
            await client.post(TOPIC, [event()])
    assert sum(clock.waited) <= 20
    assert len(transport.bodies) < 15


@pytest.mark.parametrize(("token", "kind"), [("read", Forbidden), ("nobody", Unauthenticated)])
async def test_a_permanent_error_is_raised_at_once(inner, tokens, event, token, kind):
    """Retries with a wrong token would only fill logs."""
    transport, clock = _Scripted([], inner), _Impatient()
    shown = tokens.get(token, "dia_none")
    async with EdgeClient(
        "http://edge", shown, app.topology, transport=transport, clock=clock
    ) as client:
        with pytest.raises(kind):
            await client.post(TOPIC, [event()])
    assert len(transport.bodies) == 1
    assert clock.waited == []


async def test_the_schema_version_is_sent_with_the_events(tokens, inner, event, second_version):
    """Client and edge validate the events by that version."""
    async with made(tokens, _Scripted([], inner)) as client:
        posted = await client.post(TOPIC, [event(unit="s"), event()], version=2)
    assert (posted.accepted, [bad.path for bad in posted.rejected]) == (1, ["$.unit"])


def accepted(count, **more):
    """The answer of an edge that stored ``count`` events."""
    receipt = {"accepted": count, "stored": "log", "rejected": [], **more}
    return httpx.Response(202, json=receipt)


async def test_attempts_get_rarer_and_end_after_two_minutes(tokens, event):
    """An edge that is deployed anew is back in seconds, and one that is away must not be asked without end."""
    clock = _Impatient()
    transport = _Scripted([httpx.Response(503)] * 40)
    async with made(tokens, transport, clock) as client:
        with pytest.raises(NotStored):
            await client.post(TOPIC, [event()])
    assert clock.waited == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4] + [10.0] * 10)


async def test_a_wait_that_ends_with_the_patience_is_waited_for(tokens, event):
    """``patience_s`` says how long the client tries."""
    clock = _Impatient()
    transport = _Scripted([httpx.Response(503), accepted(1)])
    async with made(tokens, transport, clock, patience_s=0.2) as client:
        assert (await client.post(TOPIC, [event()])).accepted == 1
    assert clock.waited == pytest.approx([0.2])


async def test_a_request_has_at_most_a_thousand_events(tokens, event):
    """So that one bad request, which is refused as a whole, costs no more."""
    transport = _Scripted([accepted(1000), accepted(1)])
    async with made(tokens, transport) as client:
        assert (await client.post(TOPIC, [event()] * 1001)).accepted == 1001
    assert [len(body.splitlines()) for body in transport.bodies] == [1000, 1]


async def test_a_request_has_at_most_a_megabyte(tokens, event):
    """An edge refuses a larger one, and holds each in memory."""
    large = [{**event(value=n), "note": "x" * 400_000} for n in range(3)]
    transport = _Scripted([accepted(2), accepted(1)])
    async with made(tokens, transport) as client:
        assert (await client.post(TOPIC, large)).accepted == 3
    assert [len(body) >> 10 for body in transport.bodies] == [781, 390]


async def test_the_ends_of_lines_count_in_a_request(tokens, event, monkeypatch):
    """A body of exactly the bound and a line end more is beyond it."""
    events = [event(value=n) for n in range(2)]
    size = len(msgspec.json.encode(events[0]))
    monkeypatch.setattr(module, "BATCH_BYTES", 2 * size)
    transport = _Scripted([accepted(1), accepted(1)])
    async with made(tokens, transport) as client:
        assert (await client.post(TOPIC, events)).accepted == 2
    assert [len(body) for body in transport.bodies] == [size, size]


async def test_the_one_event_that_was_not_judged_is_sent_again(tokens, event):
    """An edge stops at its thousandth bad event, and says how many are left."""
    transport = _Scripted([accepted(2, not_judged=1), accepted(1)])
    async with made(tokens, transport) as client:
        assert (await client.post(TOPIC, [event(value=n) for n in range(3)])).accepted == 3
    assert transport.bodies[1] == transport.bodies[0].splitlines()[-1]


async def test_a_refusal_that_leaves_nothing_open_is_not_repeated(tokens, event):
    """Its document names the bad events, and says of no other that it was not judged."""
    bad = [{"index": 0, "code": "wrong_type", "message": "no", "path": "$.value"}]
    transport = _Scripted([httpx.Response(422, json={"rejected": bad})])
    async with made(tokens, transport) as client:
        posted = await client.post(TOPIC, [event(), event()])
    assert (posted.accepted, [one.index for one in posted.rejected]) == (0, [0])
    assert len(transport.bodies) == 1
