"""Splitting a body into the bytes of its events, or refusing it with one sentence."""

from __future__ import annotations

import pytest

from streams.connect.access.refusals import BadRequest, BodyTooLarge
from streams.http.edge import splitting
from streams.http.edge.exchange import EVENTS_MAX, JSON, NDJSON
from streams.http.edge.validation_cost import LoopShare, ValidationCost

FULL = [b"%d" % number for number in range(EVENTS_MAX)]


async def split(body, media=JSON):
    return await splitting.events(body, media, ValidationCost(LoopShare()))


@pytest.mark.parametrize(
    ("body", "media", "events"),
    [
        (b' {"a": [1, 2], "b": 3} ', JSON, [b'{"a": [1, 2], "b": 3}']),
        (b"\xef\xbb\xbf[1, {}]", JSON, [b"1", b"{}"]),
        (b" a \r\n\n b", NDJSON, [b"a", b"b"]),
        (b"[1,2]", NDJSON, [b"[1,2]"]),
    ],
    ids=["one document", "array after a mark", "lines", "an array as a line"],
)
async def test_an_event_keeps_its_bytes(body, media, events):
    """An event without an id is identified by its bytes."""
    assert await split(body, media) == events


@pytest.mark.parametrize("media", [JSON, NDJSON])
async def test_a_body_in_another_encoding_is_refused_by_its_name(media):
    """The errors of its single events would not name the encoding."""
    with pytest.raises(BadRequest, match=r"the body is UTF-16.*; send UTF-8"):
        await split('{"a": 1}'.encode("utf-16"), media)


@pytest.mark.parametrize(
    ("body", "media"),
    [(b"", JSON), (b" \n", JSON), (b"[]", JSON), (b"", NDJSON), (b"\n \n", NDJSON)],
)
async def test_a_body_without_events_is_refused(body, media):
    """A client that lost its events must not get an acceptance."""
    with pytest.raises(BadRequest, match="holds no event"):
        await split(body, media)


@pytest.mark.parametrize(
    ("media", "shape"),
    [(JSON, b"[%s]"), (NDJSON, b"%s")],
    ids=["array", "lines"],
)
async def test_a_request_holds_at_most_ten_thousand_events(media, shape):
    """The documented limit applies."""
    between = b"," if media == JSON else b"\n"
    assert await split(shape % between.join(FULL), media) == FULL
    with pytest.raises(BodyTooLarge, match="at most 10000 events, not 10001"):
        await split(shape % between.join([*FULL, b"1"]), media)


async def test_as_many_blank_lines_as_events_are_accepted():
    """Some clients end every line twice."""
    assert await split(b"\n\n".join(FULL) + b"\n\n", NDJSON) == FULL
    with pytest.raises(BodyTooLarge, match="at most 20000 lines, not 20001"):
        await split(b"\n" * 20_001, NDJSON)


async def test_an_array_of_ten_thousand_is_read_token_by_token(monkeypatch):
    """The code path for arrays with many commas has the same limit."""
    monkeypatch.setattr(splitting, "COMMAS_AT_ONCE", 0)
    whole = b"[" + b",".join(FULL) + b"]"
    assert await split(whole) == FULL
    with pytest.raises(BodyTooLarge, match="at most 10000 events, not more than 10000"):
        await split(whole[:-1] + b",1]")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[1,,2]", "an element is missing"),
        (b"[,1]", "an element is missing"),
        (b"[1,2] 3", "something follows its end"),
        (b"[1,2", "it does not end"),
    ],
)
async def test_a_malformed_array_is_refused_either_way(body, why, monkeypatch):
    """A read token by token has no decoder for the whole array that would find the error."""
    with pytest.raises(BadRequest, match="the array is not valid JSON"):
        await split(body)
    monkeypatch.setattr(splitting, "COMMAS_AT_ONCE", 0)
    with pytest.raises(BadRequest, match=f"the array is not valid JSON: {why}"):
        await split(body)
