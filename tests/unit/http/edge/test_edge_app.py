"""Answers of an edge, and the guarantees behind them."""

from __future__ import annotations

import codecs
import json

import pytest

from agents.app import app
from streams.connect.access.refusals import BadRequest
from streams.connect.access.tokens import TokenFile
from streams.core.clock import SystemClock
from streams.core.types import TopicPartition
from streams.engine.decode.codecs import APPEND_MARGIN_S, CLOCK_MARGIN_S
from streams.http.edge import exchange, splitting
from streams.http.edge.validation_cost import LoopShare, ValidationCost
from streams.http.edge.validator import topics_taken

METRICS = "/v1/events/model.metrics"
JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}


async def test_accepted_events_are_in_the_log_byte_for_byte(http, log, line):
    """An event without an id is identified by its bytes, so the edge must not change them."""
    spaced = line().replace(b",", b" ,\t")
    for content, headers in [(spaced, JSON), (b"[%s, %s]" % (line(value=2), spaced), JSON),
                             (line(value=3) + b"\r\n\n" + line(value=4), LINES)]:  # fmt: skip
        answer = await http.post(METRICS, content=content, headers=headers)
        assert answer.status_code == 202, answer.text
        assert answer.json()["rejected"] == []
        assert answer.json()["stored"] in {"log", "spool"}
    values = [json.loads(value)["value"] for _, value in await _settled(http, log, 5)]
    assert values == [1.5, 2, 1.5, 3, 4]
    assert [value for _, value in log()].count(spaced) == 2
    assert {key for key, _ in log()} == {b"acme"}


async def _settled(http, log, count: int) -> list[tuple[bytes, bytes]]:
    """The log, once the lanes hold no blocks."""
    import asyncio

    async with asyncio.timeout(200):
        while len(log()) < count:  # noqa: ASYNC110 - a log has no notification
            await asyncio.sleep(0.01)
    return log()


async def test_the_time_to_an_answer_is_measured_by_route(http, process, line):
    """The latency that producers see. Refusals are included, and the path label contains no key."""
    for content in (line(), b"{"):
        await http.post(METRICS, content=content, headers=JSON)
    labels = {"route": "/v1/events/{topic}"}
    registry = process.metrics.registry
    assert registry.get_sample_value("dia_edge_request_seconds_count", labels) == 2
    assert registry.get_sample_value("dia_edge_request_seconds_sum", labels) > 0


async def test_invalid_events_of_a_batch_are_named_and_valid_ones_accepted(http, log, line):
    """One invalid line of a thousand must neither affect the others nor disappear."""
    lines = [line(), b"{", line(value="x"), line(tenant_id="other"), line(ts=-1), line(value=9)]
    answer = await http.post(METRICS, content=b"\n".join(lines), headers=LINES)
    assert answer.status_code == 207
    found = answer.json()
    assert found["accepted"] == 2
    assert [(bad["index"], bad["code"], bad["path"]) for bad in found["rejected"]] == [
        (1, "invalid_json", "$"),
        (2, "wrong_type", "$.value"),
        (3, "tenant_mismatch", "$.tenant_id"),
        (4, "out_of_range", "$.ts"),
    ]
    assert [value for _, value in await _settled(http, log, 2)] == [lines[0], lines[5]]


async def test_events_that_would_be_too_old_or_early_at_their_append_are_refused(
    http, edge_settings, log, line
):
    """A tenant got 202 for events that the worker dead-letters a moment later: enough of them stopped a partition."""
    settings, now_ms = edge_settings, SystemClock().now_ms()
    oldest, latest = now_ms - 1000 * settings.late_max_s, now_ms + 1000 * settings.future_max_s
    lines = [
        line(ts=oldest + 1000 * (APPEND_MARGIN_S - 30)),
        line(ts=latest - 1000 * (CLOCK_MARGIN_S - 2)),
        line(ts=oldest + 1000 * (APPEND_MARGIN_S + 600)),
        line(ts=latest - 1000 * (CLOCK_MARGIN_S + 30)),
    ]
    answer = await http.post(METRICS, content=b"\n".join(lines), headers=LINES)
    assert [(bad["index"], bad["code"]) for bad in answer.json()["rejected"]] == [
        (0, "timestamp_too_old"),
        (1, "timestamp_in_future"),
    ]
    assert {value for _, value in await _settled(http, log, 2)} == {lines[2], lines[3]}


async def test_a_request_without_an_accepted_event_is_an_error(http, log, line):
    """A client that reads only the status must not take a refusal for an acceptance."""
    answer = await http.post(METRICS, content=line(value="x"), headers=JSON)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["rejected"][0]["code"] == "wrong_type"
    answer = await http.post(METRICS, content=line(tenant_id="other"), headers=JSON)
    assert answer.status_code == 403
    assert answer.json()["code"] == "tenant_mismatch"
    assert log() == []


async def test_an_admin_without_a_tenant_posts_for_any(http, log, line, tokens):
    """A gateway with its own clients needs one token, not one for each of them."""
    headers = {**LINES, "Authorization": f"Bearer {tokens['admin']}"}
    content = line(tenant_id="a") + b"\n" + line(tenant_id="b")
    assert (await http.post(METRICS, content=content, headers=headers)).status_code == 202
    assert sorted(key for key, _ in await _settled(http, log, 2)) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"path": "/v1/events/no.topic"}, 404, "unknown_resource"),
        ({"path": "/v1/events/decision.simulation.result"}, 404, "unknown_resource"),
        ({"path": "/nowhere"}, 404, "unknown_resource"),
        ({"headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media"),
        ({"headers": {**JSON, "Content-Encoding": "gzip"}}, 415, "unsupported_media"),
        ({"content": b""}, 400, "unreadable"),
        ({"content": b"[]"}, 400, "unreadable"),
        ({"content": b"[1, "}, 400, "unreadable"),
        ({"content": b"[" * 100_000}, 400, "unreadable"),
        ({"content": b" " * (2 << 20) + b" "}, 413, "body_too_large"),
        ({"content": b"[" + b"1," * 10_000 + b"1]"}, 413, "body_too_large"),
        ({"headers": {**JSON, "Authorization": "Bearer x"}}, 401, "unauthenticated"),
        ({"headers": {**JSON, "Authorization": ""}}, 401, "unauthenticated"),
    ],
)
async def test_each_refusal_has_its_status_and_code(http, log, line, change, status, code):
    """Programs decide by the code; nothing is stored."""
    request = {"path": METRICS, "content": line(), "headers": JSON, **change}
    answer = await http.post(
        request["path"], content=request["content"], headers=request["headers"]
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert log() == []


async def test_a_chunked_body_beyond_the_limit_is_refused(http, log):
    """A chunked body has no declared length: the edge counts while it reads."""

    async def endless():
        while True:
            yield b" " * 65_536

    answer = await http.post(METRICS, content=endless(), headers=JSON)
    assert answer.status_code == 413


async def test_a_reader_may_not_post(http, line, tokens):
    """A leaked token of a dashboard must not allow writes."""
    headers = {**JSON, "Authorization": f"Bearer {tokens['read']}"}
    answer = await http.post(METRICS, content=line(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_without_a_broker_a_202_says_that_the_event_is_spooled(http, broker, log, line):
    """The guarantee is the same; the answer says where the event is."""
    broker.faults.down()
    answer = await http.post(METRICS, content=line(event_id="e"), headers=JSON)
    while answer.json()["stored"] == "log":
        answer = await http.post(METRICS, content=line(event_id="e"), headers=JSON)
    assert (answer.status_code, answer.json()["stored"]) == (202, "spool")
    seen = len(log())
    broker.faults.up()
    await _settled(http, log, seen + 1)


async def test_a_damaged_token_file_refuses_every_request(http, edge_settings, line):
    """An invalid file must not allow access."""
    TokenFile.of(edge_settings.home_path()).path.write_text("{")
    answer = await http.post(METRICS, content=line(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (503, "tokens_unreadable")


async def test_health_needs_no_token_and_shows_no_secret(http):
    """A load balancer has no token; it sees which topics go directly to the log."""
    answer = await http.get("/healthz", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert set(answer.json()["direct"]) == set(topics_taken(app.topology))


class _Results:
    """Stands in for ClickHouse."""

    asked: tuple[str, str] | None = None

    async def results(self, tenant, key):
        self.asked = (tenant, key)
        return [{"status": "completed"}] if key == "known" else []


async def test_a_simulation_is_read_for_the_tenant_of_the_token(process, http, tokens, monkeypatch):
    """The query names the token's tenant, whatever the request says."""
    results = _Results()
    object.__setattr__(process._edge, "results", results)
    answer = await http.get("/v1/simulations/known")
    assert answer.status_code == 200
    assert answer.json()["results"] == [{"status": "completed"}]
    assert results.asked == ("acme", "known")
    assert (await http.get("/v1/simulations/other")).status_code == 404
    await http.get("/v1/simulations/2026%2F11%2F30%3Frun")
    assert results.asked == ("acme", "2026/11/30?run"), "a key is any text"
    assert (await http.get("/v1/simulations/known?tenant=other")).status_code == 403
    everyone = {"Authorization": f"Bearer {tokens['admin']}"}
    assert (await http.get("/v1/simulations/known", headers=everyone)).status_code == 400
    found = await http.get("/v1/simulations/known?tenant=other", headers=everyone)
    assert found.status_code == 200
    assert results.asked == ("other", "known")


async def test_clickhouse_away_is_a_503(http):
    """The error may name addresses and users, so it goes to the log only."""
    answer = await http.get("/v1/simulations/known")
    assert (answer.status_code, answer.json()["code"]) == (503, "shard_unavailable")
    assert "DIA_" not in answer.text


async def test_an_array_keeps_each_elements_own_bytes():
    """Including spaces, key order and number spelling."""
    elements = [b'{"b": 1.50,"a" :2}', b"1e3", b'"[]"', b"null"]
    content = b"[" + b" ,\n".join(elements) + b"]"
    assert await splitting.events(content, exchange.JSON, ValidationCost(LoopShare())) == elements


@pytest.mark.parametrize(("content", "media"), [(b"{}", exchange.NDJSON), (b"[{}]", exchange.JSON)])
async def test_a_byte_order_mark_before_a_body_is_ignored(content, media):
    """RFC 8259 allows it, and it is not part of the event's bytes."""
    assert await splitting.events(
        codecs.BOM_UTF8 + content, media, ValidationCost(LoopShare())
    ) == [b"{}"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
async def test_a_body_in_another_encoding_is_named(encoding):
    """Otherwise the first byte of each event would be reported as malformed."""
    with pytest.raises(BadRequest, match=encoding[:6].upper()):
        await splitting.events(
            "{}\n{}".encode(encoding), exchange.NDJSON, ValidationCost(LoopShare())
        )


async def test_an_event_that_its_agent_always_refuses_is_refused_here(http, log):
    """202 promises that the event counts, so it must not become a dead letter."""
    result = {
        "result_id": "x", "run_id": "r", "tenant_id": "acme", "model_id": "m", "version": "1",
        "event": "alias_updated", "metrics": {}, "ts": SystemClock().now_ms(),
    }  # fmt: skip
    answer = await http.post("/v1/events/train.results", json=result)
    assert answer.status_code == 422
    assert answer.json()["rejected"][0]["path"] == "$.alias"
    answer = await http.post("/v1/events/train.results", json={**result, "alias": "champion"})
    assert answer.status_code == 202


async def test_an_event_that_its_agent_may_find_too_old_is_refused_here(http, line):
    """A tenant could time its events to pass the edge and to be too old at the broker some
    milliseconds later. The same holds for the future, with clocks that differ.
    """
    now_ms, codes = SystemClock().now_ms(), []
    for ts in (now_ms - 604_800_000 + 30_000, now_ms + 298_000):
        answer = await http.post(METRICS, content=line(ts=ts), headers=JSON)
        assert answer.status_code == 422
        codes.append(answer.json()["rejected"][0]["code"])
    assert codes == ["timestamp_too_old", "timestamp_in_future"]
    for ts in (now_ms - 604_800_000 + 90_000, now_ms + 290_000):
        answer = await http.post(METRICS, content=line(ts=ts), headers=JSON)
        assert answer.status_code == 202


async def test_events_keep_their_schema_version(http, broker, log, line, second_version):
    """The request's header becomes the header of each record."""
    headers = {**LINES, "Dia-Schema": "2"}
    content = b"\n".join([line(unit="s"), line()])
    answer = await http.post(METRICS, content=content, headers=headers)
    assert answer.status_code == 207
    assert [bad["path"] for bad in answer.json()["rejected"]] == ["$.unit"]
    await _settled(http, log, 1)
    found = [
        pairs
        for partition in range(4)
        for pairs in broker.log(TopicPartition("model.metrics", partition))
        .read_committed(0, 99)
        .headers
    ]
    assert found == [(("dia.schema", b"2"),)]


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [("two", 400, "unreadable"), ("-1", 400, "unreadable"), ("7", 422, "no_event_accepted")],
)
async def test_an_invalid_schema_version_is_refused(http, log, line, said, status, code):
    """An invalid version must not be read as version 1."""
    headers = {**LINES, "Dia-Schema": said}
    answer = await http.post(METRICS, content=line(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert log() == []


@pytest.mark.parametrize("path", [f"{METRICS}/", "/healthz/", "/openapi.json/", "/v1/"])
async def test_a_trailing_slash_is_an_unknown_path(http, path, line):
    """A redirect behind a proxy that ends TLS would name http://: events in clear text."""
    answer = await http.post(path, content=line(), headers=LINES)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unknown_resource"
