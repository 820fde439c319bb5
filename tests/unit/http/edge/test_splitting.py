"""A body becomes the bytes of its events, or one sentence says why it does not."""

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
    """Without an id, an event is known by them."""
    assert await split(body, media) == events


@pytest.mark.parametrize("media", [JSON, NDJSON])
async def test_a_body_in_another_encoding_is_refused_by_its_name(media):
    """Its bytes would be refused event by event, for a reason that names no cause."""
    with pytest.raises(BadRequest, match=r"the body is UTF-16.*; send UTF-8"):
        await split('{"a": 1}'.encode("utf-16"), media)


@pytest.mark.parametrize(
    ("body", "media"),
    [(b"", JSON), (b" \n", JSON), (b"[]", JSON), (b"", NDJSON), (b"\n \n", NDJSON)],
)
async def test_a_body_without_events_is_refused(body, media):
    """A sender that lost its events must not read that they were accepted."""
    with pytest.raises(BadRequest, match="holds no event"):
        await split(body, media)


@pytest.mark.parametrize(
    ("media", "shape"),
    [(JSON, b"[%s]"), (NDJSON, b"%s")],
    ids=["array", "lines"],
)
async def test_a_request_takes_ten_thousand_events_and_no_more(media, shape):
    """The limit that docs and clients know is the one that holds."""
    between = b"," if media == JSON else b"\n"
    assert await split(shape % between.join(FULL), media) == FULL
    with pytest.raises(BodyTooLarge, match="at most 10000 events, not 10001"):
        await split(shape % between.join([*FULL, b"1"]), media)


async def test_as_many_blank_lines_as_events_are_taken():
    """Some clients end every line twice."""
    assert await split(b"\n\n".join(FULL) + b"\n\n", NDJSON) == FULL
    with pytest.raises(BodyTooLarge, match="at most 20000 lines, not 20001"):
        await split(b"\n" * 20_001, NDJSON)


async def test_an_array_of_ten_thousand_is_taken_token_by_token(monkeypatch):
    """The way for arrays with many commas has the same limit."""
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
    """Read token by token, the array has no decoder of its own that would say so."""
    with pytest.raises(BadRequest, match="the array is no JSON"):
        await split(body)
    monkeypatch.setattr(splitting, "COMMAS_AT_ONCE", 0)
    with pytest.raises(BadRequest, match=f"the array is no JSON: {why}"):
        await split(body)
