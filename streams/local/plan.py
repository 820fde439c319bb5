"""What a local stack consists of: decided at its first start, remembered for all later ones."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import msgspec

from streams.errors import RefusedBySafety
from streams.local.folder import StackFolder, write_atomically
from streams.local.ports import LOOPBACK, free_ports, refuse_busy

SHARDS_DEFAULT = 2
SHARDS_MAX = 16
CLICKHOUSE_USER = "default"
CLICKHOUSE_DATABASE = "dia"
_FIXED_PORTS = 3


class StackPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Ports, on loopback. One shard port per ClickHouse shard."""

    kafka_port: int
    controller_port: int
    redis_port: int
    shard_ports: tuple[int, ...]

    @property
    def kafka_bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.kafka_port}"

    @property
    def redis_url(self) -> str:
        return f"redis://{LOOPBACK}:{self.redis_port}/0"

    @property
    def shard_urls(self) -> tuple[str, ...]:
        return tuple(f"http://{LOOPBACK}:{port}" for port in self.shard_ports)

    def named_ports(self) -> Iterator[tuple[str, int]]:
        yield "kafka", self.kafka_port
        yield "kafka's controller", self.controller_port
        yield "redis", self.redis_port
        for index, port in enumerate(self.shard_ports):
            yield f"clickhouse-{index}", port


def new_plan(shards: int) -> StackPlan:
    """A plan on ports that are free now."""
    kafka, controller, redis, *shard_ports = free_ports(_FIXED_PORTS + shards)
    return StackPlan(
        kafka_port=kafka,
        controller_port=controller,
        redis_port=redis,
        shard_ports=tuple(shard_ports),
    )


def remembered_plan(folder: StackFolder) -> StackPlan | None:
    """The plan of an earlier start; None before the first, or when its file is unreadable."""
    try:
        return msgspec.json.decode(folder.plan.read_bytes(), type=StackPlan)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def settle_plan(folder: StackFolder, shards: int | None, *, new_ports: bool) -> StackPlan:
    """The plan to start with: the remembered one, or a new one, and remember it.

    Raises `RefusedBySafety` for another number of shards than the stack was made with, and
    `DependencyUnreachable` for a remembered port that is busy.
    """
    remembered = remembered_plan(folder)
    if remembered is None:
        plan = new_plan(shards or SHARDS_DEFAULT)
    else:
        refuse_other_shards(remembered, shards, folder)
        plan = new_plan(len(remembered.shard_ports)) if new_ports else remembered
        refuse_busy(plan.named_ports())
    write_atomically(folder.plan, msgspec.json.encode(plan))
    return plan


def refuse_other_shards(plan: StackPlan, shards: int | None, folder: StackFolder) -> None:
    """Rows lie where the number of shards put them: another number would not find them."""
    count = len(plan.shard_ports)
    if shards is not None and shards != count:
        msg = (
            f"the local stack in {folder.home} was made with {count} shards, and its rows are "
            f"placed by that number. Run `dia up` without --shards, or name another --home."
        )
        raise RefusedBySafety(msg)


def settle_password(folder: StackFolder) -> None:
    """Make the shards' password at the first start; only its owner can read it."""
    if not folder.password.exists():
        write_atomically(folder.password, secrets.token_urlsafe(24).encode())
