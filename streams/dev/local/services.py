"""The services a plan asks for, in the order they are started."""

from __future__ import annotations

import os

from streams.dev.local import clickhouse, jars, kafka, redis
from streams.dev.local.folder import StackFolder
from streams.dev.local.jar_lock import read_lock
from streams.dev.local.plan import StackPlan
from streams.dev.local.service import Service
from streams.dev.local.wheels import locate


def services(folder: StackFolder, plan: StackPlan) -> tuple[Service, ...]:
    """The Kafka brokers, Redis and one ClickHouse per shard. Everything they need was prepared before."""
    wheels = locate()
    class_path = jars.class_path(jars.cache_folder(os.environ, folder.home), read_lock())
    return (
        *kafka.services(folder, plan, wheels.java, class_path),
        redis.service(folder, plan, wheels.redis_server),
        *(clickhouse.service(folder, plan, index) for index in range(len(plan.shard_ports))),
    )
