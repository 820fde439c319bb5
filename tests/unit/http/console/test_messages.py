"""Topics and messages over HTTP, on a memory broker: filters, rights, live, and sending again."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from starlette.requests import Request

from streams.connect.broker.memory.log import LogEntry
from streams.core.clock import SystemClock
from streams.core.types import TopicConfig, TopicPartition
from streams.http.console.pages.live import Live
from streams.http.console.parameters import Parameters
from streams.http.console.topics.messages import COPIES_MAX

TOPIC = "model.metrics"
NOW_MS = 1_760_000_000_000


def event(tenant, number):
    return b'{"tenant_id":"%b","model_id":"m","metric":"x","value":%d,"ts":%d}' % (
        *(tenant.encode(), number, SystemClock().now_ms()),
    )


async def write(broker, number, tenant="acme", key=None, topic=TOPIC, headers=()):
    producer = broker.plain_producer()
    await producer.start()
    sent = await producer.send(topic, (key or tenant).encode(), event(tenant, number), headers)
    tp = await sent
    await producer.close()
    return tp


async def listed(http, headers, **params):
    answer = await http.get("/api/messages", headers=headers, params={"topic": TOPIC, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


def numbers(found):
    return [json.loads(one["preview"])["value"] for one in found["messages"]]


async def sheet(http, headers, place):
    return await http.get("/api/message", headers=headers, params={"place": place})


@pytest.fixture
async def filled(broker):
    for number in range(6):
        await write(broker, number, ("acme", "globex")[number % 2])
    return broker


async def test_messages_are_filtered_as_by_the_command(http, bearer, filled):
    """The same options mean the same: tenant, key, partition, fields, bytes, offsets, times."""
    admin = bearer("admin")
    assert sorted(numbers(await listed(http, admin))) == [0, 1, 2, 3, 4, 5]
    assert numbers(await listed(http, admin, tenant="acme")) == [4, 2, 0]
    assert numbers(await listed(http, admin, key="globex", where="value >= 3")) == [5, 3]
    assert numbers(await listed(http, admin, contains='"value":4')) == [4]
    [newest] = (await listed(http, admin, tenant="acme", limit=1))["messages"]
    partition = newest["partition"]
    at = {"partition": partition, "tenant": "acme"}
    assert numbers(await listed(http, admin, **at, to=str(newest["offset"]))) == [2, 0]
    assert numbers(await listed(http, admin, **at, **{"from": str(newest["offset"])})) == [4]
    assert numbers(await listed(http, admin, to="2001-01-01")) == []


@pytest.mark.parametrize(
    "params",
    [
        {"where": "value >"},
        {"key": "0xg"},
        {"from": "yesterday"},
        {"partition": "first"},
        {"topic": ""},
        {"contains": "x" * 2000},
    ],
)
async def test_an_unreadable_filter_is_refused_by_name(http, bearer, filled, params):
    """An ignored filter would show other messages than those asked for."""
    answer = await http.get(
        "/api/messages", headers=bearer("admin"), params={"topic": TOPIC, **params}
    )
    assert answer.status_code == 400
    assert next(iter(params)) in answer.json()["detail"]


async def test_a_tenants_token_sees_its_own_messages_only(http, bearer, filled):
    """By list, by place and by a filter that names another tenant."""
    read = bearer("read")
    found = await listed(http, read)
    assert numbers(found) == [4, 2, 0]
    await write(filled, 7, tenant="globex", key="acme")
    await write(filled, 8, tenant="acme", key="globex")
    assert numbers(await listed(http, read)) == [4, 2, 0]
    [other] = (await listed(http, bearer("admin"), where="value == 5"))["messages"]
    for place in (other["place"], f"{TOPIC}/0/99999"):
        answer = await sheet(http, read, place)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_resource")
    answer = await http.get(
        "/api/messages", headers=read, params={"topic": TOPIC, "tenant": "globex"}
    )
    assert answer.status_code == 403


async def test_topics_without_tenants_are_closed_to_a_tenants_token(http, bearer, broker):
    """A changelog holds the state of every tenant."""
    listed_topics = (await http.get("/api/topics", headers=bearer("read"))).json()["topics"]
    assert {one["kind"] for one in listed_topics} == {"source", "dlq", "parked"}
    assert {one["offsets"] for one in listed_topics} == {None}
    every = (await http.get("/api/topics", headers=bearer("admin"))).json()["topics"]
    [changelog] = [one["name"] for one in every if one["kind"] == "changelog"][:1]
    for path, params in (
        ("/api/messages", {"topic": changelog}),
        ("/api/message", {"place": f"{changelog}/0/0"}),
        ("/live/messages", {"topic": changelog}),
        (f"/api/topics/{TOPIC}", {}),
    ):
        answer = await http.get(path, headers=bearer("operate"), params=params)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    assert (await http.get(f"/api/topics/{TOPIC}", headers=bearer("read"))).status_code == 403


async def test_a_topic_is_described_as_by_the_command(http, bearer, filled):
    """Settings against what is declared, partitions, and the lag of each group."""
    found = (await http.get(f"/api/topics/{TOPIC}", headers=bearer("admin"))).json()
    assert found["topic"] == TOPIC
    settings = {one["setting"]: one for one in found["settings"]}
    assert settings["message.timestamp.type"]["value"] == "LogAppendTime"
    assert sum(one["groups"][0]["lag"] for one in found["partitions"]) == 6
    missing = await http.get("/api/topics/nowhere", headers=bearer("admin"))
    assert missing.status_code == 404


async def test_one_message_is_shown_whole(http, bearer, broker):
    """Decoded, as bytes, and with headers that are not text."""
    tp = await write(broker, 3, headers=(("note", b"\xff"), ("plain", b"x")))
    found = (await sheet(http, bearer("read"), f"{tp}/0")).json()
    assert found["json"]["value"] == 3
    assert found["hex"][0]["text"].startswith('{"tenant_id"')
    assert found["headers"] == [
        {"name": "note", "value": None, "value_base64": "/w=="},
        {"name": "plain", "value": "x"},
    ]
    assert found["again"]["allowed"]


async def test_undeclared_topics_and_bytes_are_shown_to_an_admin(http, bearer, broker):
    """Any topic of the cluster, whatever its bytes are."""
    await (await broker.admin()).create_topics([TopicConfig("other", 1, 1, {})])
    log = broker.log(TopicPartition("other", 0))
    log.append(LogEntry(NOW_MS, None, b"\xff\x00", ()))
    log.append(LogEntry(NOW_MS + 1, None, None, ()))
    admin = bearer("admin")
    found = (await listed(http, admin, topic="other"))["messages"]
    assert [one["preview"] for one in found] == ["", "0xff00"]
    raw = (await sheet(http, admin, "other/0/0")).json()
    assert (raw["text"], raw["json"], raw["again"]["allowed"]) == (None, None, False)


async def test_a_message_is_sent_again_with_a_reason_and_a_record_of_it(
    http, bearer, broker, console_settings
):
    """The copy has key, value and headers of the event, not those of one replay of it."""
    old = (("note", b"x"), ("dia.replay.id", b"model.metrics/0/9"), ("dia.dlq.error_code", b"e"))
    tp = await write(broker, 3, headers=old)
    body = {"place": f"{tp}/0", "reason": "the sink was down"}
    answer = await http.post("/api/message/again", headers=bearer("operate"), json=body)
    assert (answer.status_code, answer.json()["partition"]) == (202, tp.partition)
    assert "duplicate" in answer.json()["text"]
    copy = (await sheet(http, bearer("operate"), f"{tp}/1")).json()
    assert copy["json"]["value"] == 3
    assert [one["name"] for one in copy["headers"]] == ["note"]
    [journal] = (console_settings.home_path() / "access").glob("operations-*.jsonl")
    begun, done = map(json.loads, journal.read_text().splitlines())
    assert (begun["action"], begun["subject"]["reason"]) == ("message_again", "the sink was down")
    assert done["outcome"] == "done"


async def test_sending_again_needs_a_reason_and_the_own_tenant(http, bearer, broker):
    """Without consent, or for another tenant, nothing is appended."""
    tp = await write(broker, 3)
    post = lambda who, **body: http.post("/api/message/again", headers=bearer(who), json=body)  # noqa: E731
    place = f"{tp}/0"
    assert (await post("operate", place=place, reason=" ")).status_code == 409
    assert (await post("stranger", place=place, reason="mine")).status_code == 404
    await write(broker, 4, topic="model.metrics.dlq")
    letter = (await listed(http, bearer("admin"), topic="model.metrics.dlq"))["messages"][0]
    refused = await post("admin", place=letter["place"], reason="again")
    assert (refused.status_code, "replay" in refused.json()["detail"]) == (409, True)
    assert len((await listed(http, bearer("admin")))["messages"]) == 1


async def test_a_tenant_sends_few_messages_again_beside_its_quotas(
    http, bearer, broker, monkeypatch
):
    """Copies pass no edge: 30,000 a minute of up to 1 MiB each went into a partition that others share.
    The clock does not move: the rate lets one more through each second."""
    monkeypatch.setattr(SystemClock, "monotonic", lambda self: 1000.0)
    tp = await write(broker, 3)
    body = {"place": f"{tp}/0", "reason": "again"}
    answers = [
        await http.post("/api/message/again", headers=bearer("operate"), json=body)
        for _ in range(COPIES_MAX + 1)
    ]
    assert {one.status_code for one in answers[:-1]} == {202}
    assert (answers[-1].status_code, int(answers[-1].headers["retry-after"]) > 0) == (429, True)
    other = await http.post("/api/message/again", headers=bearer("admin"), json=body)
    assert other.status_code == 202


async def test_new_messages_are_live_for_their_tenant(process, bearer, filled):
    """A stream begins at the end of the log, and shows the owner's messages only."""
    read = _read(process, bearer("read"))
    assert json.loads(await read())["messages"] == []
    await write(filled, 11)
    await write(filled, 12, tenant="globex")
    found = json.loads(await read())
    assert (numbers(found), found["selected"], found["skipped"]) == ([11], 1, 0)
    await write(filled, 13)
    assert numbers(json.loads(await read())) == [13, 11]


async def test_a_fast_topic_is_live_in_bounded_memory(process, bearer, broker, monkeypatch):
    """A stream shows the newest messages and counts those that came too fast to show."""
    monkeypatch.setattr("streams.operate.messages.message_tail.STEP_OFFSETS", 150)
    read = _read(process, bearer("admin"))
    await read()
    log = broker.log(TopicPartition(TOPIC, 0))
    for number in range(400):
        log.append(LogEntry(NOW_MS + number, b"acme", event("acme", number), ()))
    found = json.loads(await read())
    assert numbers(found) == [*range(399, 299, -1)]
    assert (found["selected"], found["skipped"]) == (150, 250)


async def test_live_streams_of_one_query_are_one_channel(process, bearer, filled):
    """Many browsers on one query cost one reading; another tenant's is another one."""
    live = Live(process.console)
    streams = []
    for who in ("read", "operate", "stranger"):
        asked = _request(bearer(who), "topic=model.metrics&where=value+>+1")
        streams.append((await live.messages(asked)).body_iterator)
        assert await anext(streams[-1])
    found = {key.owner: one.watchers for key, one in live._channels.items()}
    assert found == {"tenant acme": 2, "tenant globex": 1}
    for stream in streams:
        await stream.aclose()


def _request(headers, query):
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    client = SimpleNamespace(host="127.0.0.1")
    return Request(
        {
            "type": "http", "method": "GET", "path": "/live/messages", "headers": raw,
            "query_string": query.encode(), "client": ("127.0.0.1", 1), "app": client,
        }
    )  # fmt: skip


def _read(process, headers):
    console, request = process.console, _request(headers, f"topic={TOPIC}")
    holder = console.gate.visitor(request)
    return console.logs.messages.tail(
        holder, console.logs.messages.query(holder, Parameters(request))
    )
