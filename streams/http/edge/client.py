"""Posts events to an edge from Python: validates them, sends batches and retries.

A batch without a response is sent again unchanged: the pipeline deduplicates its events by id, or
by their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from streams.connect.access.listening import is_loopback
from streams.connect.access.refusals import (
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    Forbidden,
    NotStored,
    RateLimited,
    Unauthenticated,
    UnknownResource,
    UnsupportedMedia,
)
from streams.core.clock import Clock, SystemClock
from streams.core.errors import RequestRefused
from streams.core.process.proxies import DIRECT
from streams.core.records.headers import UNNAMED_VERSION
from streams.core.resilience.backoff import Backoff
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.engine.decode.codecs import Limits, checked
from streams.http.edge.exchange import NDJSON, SCHEMA_HEADER, Receipt, Rejected

BATCH_BYTES = 1 << 20
BATCH_EVENTS = 1000
REQUEST_TIMEOUT_S = 60.0
RETRY_MIN_S = 0.2
RETRY_MAX_S = 10.0
LIMITS = Limits(future_max_s=300, late_max_s=604_800)

AGAIN = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
"""Statuses after which the same request may be accepted."""
_REFUSALS: Mapping[int, type[RequestRefused]] = {
    kind.status: kind
    for kind in (
        BadRequest, Unauthenticated, Forbidden, UnknownResource, BodyTimeout, BodyTooLarge,
        UnsupportedMedia, RateLimited, NotStored,
    )
}  # fmt: skip


class Posted(NamedTuple):
    """The number of accepted events, and the rejected ones with their position in the input."""

    accepted: int
    rejected: list[Rejected]


class _Batch(NamedTuple):
    positions: list[int]
    lines: list[bytes]

    def last(self, count: int) -> _Batch | None:
        """None for none or all of them."""
        if not 0 < count < len(self.lines):
            return None
        return _Batch(self.positions[-count:], self.lines[-count:])


class _Refusal(msgspec.Struct):
    """The parts of a problem document that the client uses."""

    detail: str = ""
    rejected: list[Rejected] = []
    not_judged: int = 0


class EdgeClient:
    """One edge at ``url``, one token, the topics of one app. Use it in ``async with``.

    The client retries one batch for ``patience_s`` and then raises the last refusal. ``limits``:
    those of the pipeline's settings."""

    def __init__(
        self,
        url: str,
        token: str,
        topology: Topology,
        *,
        patience_s: float = 120.0,
        limits: Limits = LIMITS,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._topology = topology
        self._patience_s = patience_s
        self._limits = limits
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=REQUEST_TIMEOUT_S,
            transport=transport,
            # A remote edge may be behind the proxy of the environment.
            mounts=DIRECT if is_loopback(urlsplit(url).hostname or "") else None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def post(
        self, topic: str, events: Sequence[Any], *, version: int = UNNAMED_VERSION
    ) -> Posted:
        """Send ``events`` (mappings or event structs) of schema ``version`` in order; return when
        all accepted ones are stored.

        Raises `RequestRefused` kinds when a batch cannot be sent, or not in time; earlier batches
        are stored. Raises `KeyError` for an undeclared topic."""
        declared = self._topology.topic(topic)
        accepted, rejected = 0, []
        values = [msgspec.json.encode(event) for event in events]
        refused, good = self._checked(declared, values, version)
        rejected += refused
        for batch in _batches(good, values):
            left: _Batch | None = batch
            while left is not None:
                receipt = await self._store(topic, left, version)
                accepted += receipt.accepted
                rejected += [
                    msgspec.structs.replace(found, index=left.positions[found.index])
                    for found in receipt.rejected
                ]
                left = left.last(receipt.not_judged)
        return Posted(accepted, sorted(rejected, key=lambda found: found.index))

    def _checked(
        self, topic: Topic, values: list[bytes], version: int
    ) -> tuple[list[Rejected], Sequence[int]]:
        """The events that fail local validation, and the positions of the rest."""
        now_ms = self._clock.now_ms()
        decoded, _ = checked(topic, values, now_ms, self._limits, version)
        good = range(len(values)) if decoded.positions is None else decoded.positions
        return [Rejected(*found) for found in decoded.bad], good

    async def _store(self, topic: str, batch: _Batch, version: int) -> Receipt:
        give_up_at = self._clock.monotonic() + self._patience_s
        backoff = Backoff(self._clock, RETRY_MIN_S, RETRY_MAX_S)
        while True:
            answer = await self._send(topic, b"\n".join(batch.lines), version)
            if isinstance(answer, Receipt):
                return answer
            pause_s = backoff.next_s()
            wait_s = answer.retry_after_s if answer.retry_after_s is not None else pause_s
            if self._clock.monotonic() + wait_s > give_up_at:
                raise answer
            await self._clock.sleep(wait_s)

    async def _send(self, topic: str, body: bytes, version: int) -> Receipt | RequestRefused:
        """The receipt, or the refusal to retry after. Raises refusals that no retry resolves."""
        headers = {"Content-Type": NDJSON, SCHEMA_HEADER: str(version)}
        try:
            response = await self._http.post(f"/v1/events/{topic}", content=body, headers=headers)
        except httpx.RequestError as error:
            return NotStored(f"{self._http.base_url} did not answer: {error!r}")
        if response.status_code in {HTTPStatus.ACCEPTED, HTTPStatus.MULTI_STATUS}:
            try:
                return msgspec.json.decode(response.content, type=Receipt)
            except (
                msgspec.DecodeError
            ) as error:  # of a proxy: whether the events are stored is open
                return NotStored(f"the answer of {self._http.base_url} is no receipt: {error}")
        found = _refusal(response)
        if found.rejected:
            total = len(found.rejected)
            return Receipt(0, "nowhere", found.rejected, total, found.not_judged)
        kind = _REFUSALS.get(response.status_code, NotStored)
        detail = found.detail or response.reason_phrase
        refused = kind(detail, retry_after_s=_retry_after_s(response))
        if response.status_code not in AGAIN:
            raise refused
        return refused


def _batches(good: Sequence[int], values: list[bytes]) -> Iterator[_Batch]:
    batch, size = _Batch([], []), 0
    for position in good:
        value = values[position]
        if batch.lines and (size + len(value) > BATCH_BYTES or len(batch.lines) == BATCH_EVENTS):
            yield batch
            batch, size = _Batch([], []), 0
        batch.positions.append(position)
        batch.lines.append(value)
        size += len(value) + 1
    if batch.lines:
        yield batch


def _refusal(response: httpx.Response) -> _Refusal:
    """A proxy may respond without a problem document."""
    try:
        return msgspec.json.decode(response.content, type=_Refusal)
    except ValueError:
        return _Refusal()


def _retry_after_s(response: httpx.Response) -> float | None:
    said = response.headers.get("retry-after", "")
    return float(said) if said.isdecimal() else None
