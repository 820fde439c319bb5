"""Network checks of `dia doctor`: Kafka, every replica of every shard, Redis.

All run concurrently, each with one deadline. Clients are imported before: an import inside a check
would delay the others."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.cli.doctor.finding import DoctorFinding, FindingLevel
from streams.connect.broker.kafka.security import KafkaSecurity
from streams.core.settings import Settings
from streams.core.topics.topology import Topology

ANSWER_TIMEOUT_S = 5.0
SKEW_MAX_S = 5.0
"""Far below `future_max_s`: reports a producer's clock before its events are refused."""

CLICKHOUSE_QUESTION = (
    "SELECT version(), toUnixTimestamp64Milli(now64(3)), "
    "(SELECT count() FROM system.tables WHERE database = {database:String}) FORMAT TSV"
)
START_HINT = "dia up; or set {variable} to a running one"


async def examine(settings: Settings, topology: Topology) -> list[DoctorFinding]:
    """One finding for each service and each ClickHouse replica."""
    replicas = [
        (f"clickhouse {shard}.{replica}", url)
        for shard, urls in enumerate(settings.shards())
        for replica, url in enumerate(urls)
    ]
    found = await asyncio.gather(
        _kafka(settings, topology),
        *(_clickhouse(name, url, settings) for name, url in replicas),
        _redis(settings),
        _shard_map(settings),
    )
    if not replicas:
        found.insert(1, _unset("clickhouse", "DIA_CLICKHOUSE_SHARDS"))
    return found


async def _shard_map(settings: Settings) -> DoctorFinding:
    """Whether the reachable servers hold rows of this process's shard map."""
    from streams.connect.sinks.clickhouse import refuse_other_map
    from streams.core.errors import ShardMapChanged

    try:
        known = await refuse_other_map(settings)
    except ShardMapChanged as error:
        mend = "set DIA_CLICKHOUSE_SHARDS and DIA_SHARDING to what they were"
        return DoctorFinding("shard map", FindingLevel.FAILURE, str(error), mend)
    if known is None:
        return DoctorFinding("shard map", FindingLevel.OK, "no shard is known")
    if not known.recorded:
        detail = (
            "no server says which shard maps it records; that of the settings is taken: "
            f"{known.maps[0].record.shard_map.identity.description}"
        )
        return DoctorFinding("shard map", FindingLevel.WARNING, detail, "dia migrate apply")
    said = "; ".join(
        f"map {one.record.version}: {one.record.shard_map.identity.description} "
        f"[{one.record.shard_map.identity.digest}], from {one.record.day}"
        for one in known.maps
    )
    return DoctorFinding("shard map", FindingLevel.OK, said)


def _unset(check: str, variable: str) -> DoctorFinding:
    mend = START_HINT.format(variable=variable)
    return DoctorFinding(check, FindingLevel.WARNING, f"{variable} is not set", mend)


def _away(check: str, address: str, variable: str, error: Exception) -> DoctorFinding:
    said = str(error) or type(error).__name__
    return _unusable(check, f"{address} does not answer: {said.splitlines()[0]}", variable)


def _unusable(check: str, detail: str, variable: str) -> DoctorFinding:
    return DoctorFinding(
        check, FindingLevel.UNREACHABLE, detail, START_HINT.format(variable=variable)
    )


def _without_login(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


async def _kafka(settings: Settings, topology: Topology) -> DoctorFinding:
    address = settings.kafka_bootstrap
    if not address:
        return _unset("kafka", "DIA_KAFKA_BOOTSTRAP")
    client = AIOKafkaClient(
        bootstrap_servers=address,
        request_timeout_ms=round(ANSWER_TIMEOUT_S * 1000),
        **KafkaSecurity.from_settings(settings).client_options(),
    )
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await client.bootstrap()
            # Bootstrapping fetches the brokers but no topics.
            cluster = await client.fetch_all_metadata()
        topics, brokers = set(cluster.topics()), len(cluster.brokers())
    except (KafkaError, OSError, ValueError) as error:
        return _away("kafka", address, "DIA_KAFKA_BOOTSTRAP", error)
    finally:
        await client.close()
    absent = sorted(topology.by_name.keys() - topics)
    detail = f"{address}, {brokers} broker{'s' if brokers != 1 else ''}"
    if absent:
        lacking = f"{detail}; topics not there: {', '.join(absent)}"
        return DoctorFinding("kafka", FindingLevel.WARNING, lacking, "dia topics apply")
    return DoctorFinding("kafka", FindingLevel.OK, f"{detail}, every source topic there")


async def _clickhouse(check: str, url: str, settings: Settings) -> DoctorFinding:
    shown = _without_login(url)
    headers = {
        "X-ClickHouse-User": settings.clickhouse_user,
        "X-ClickHouse-Key": settings.clickhouse_password(),
    }
    query = {"query": CLICKHOUSE_QUESTION, "param_database": settings.clickhouse_database}
    # aiohttp's default (True) also trusts the system's authorities.
    tls = settings.clickhouse_tls().context() if url.startswith("https:") else True
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(url, params=query, ssl=tls) as answer,
        ):
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return _away(check, shown, "DIA_CLICKHOUSE_SHARDS", error)
    if answer.status != HTTPStatus.OK:
        detail = f"{shown} refuses, status {answer.status}: {text[:200].strip()}"
        return _unusable(check, detail, "DIA_CLICKHOUSE_SHARDS")
    return _judge_clickhouse(check, shown, text, settings.clickhouse_database)


def _judge_clickhouse(check: str, shown: str, text: str, database: str) -> DoctorFinding:
    version, now_ms, tables = text.strip().split("\t")
    skew_s = abs(int(now_ms) / 1000 - time.time())
    detail = f"{shown}, version {version}"
    if skew_s > SKEW_MAX_S:
        return DoctorFinding(
            check,
            FindingLevel.WARNING,
            f"{detail}; its clock and this one differ by {skew_s:.0f} s",
            "synchronise both clocks (timedatectl set-ntp true)",
        )
    if int(tables) == 0:
        lacking = f"{detail}; database {database} has no tables"
        return DoctorFinding(check, FindingLevel.WARNING, lacking, "dia migrate apply")
    return DoctorFinding(check, FindingLevel.OK, detail)


async def _redis(settings: Settings) -> DoctorFinding:
    if not settings.redis_url:
        return _unset("redis", "DIA_REDIS_URL")
    shown = _without_login(settings.redis_url)
    try:
        async with (
            asyncio.timeout(ANSWER_TIMEOUT_S),
            Redis.from_url(
                settings.redis_url, socket_timeout=ANSWER_TIMEOUT_S, **settings.redis_options()
            ) as client,
        ):
            await client.ping()
    except (RedisError, OSError, ValueError) as error:
        return _away("redis", shown, "DIA_REDIS_URL", error)
    if not settings.cache_secret_file:
        shown += "; policies are not taken from it: DIA_CACHE_SECRET_FILE is not set"
    return DoctorFinding("redis", FindingLevel.OK, shown)
