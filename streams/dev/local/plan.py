"""The parts of a local stack, decided at its first start and kept."""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Iterator

import msgspec

from streams.core.errors import RefusedBySafety
from streams.core.process.atomic_file import write_atomically
from streams.dev.local.folder import StackFolder
from streams.dev.local.ports import LOOPBACK, free_ports, refuse_busy

SHARDS_DEFAULT = 2
SHARDS_MAX = 16
BROKERS_DEFAULT = 1
BROKERS_MAX = 5
CLICKHOUSE_USER = "default"
CLICKHOUSE_DATABASE = "dia"
_PORTS_PER_BROKER = 2


class BrokerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """On loopback. ``forwarded_*`` are 0, or ports of a forwarder where tests cut connections."""

    port: int
    controller_port: int
    forwarded_port: int = 0
    forwarded_controller_port: int = 0

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.forwarded_port or self.port}"

    @property
    def controller_address(self) -> str:
        return f"{LOOPBACK}:{self.forwarded_controller_port or self.controller_port}"


class StackPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Loopback ports and the Kafka cluster's id. One port per ClickHouse shard: of the first start,
    and of servers that came later, which are in no shard map until `dia shards apply`."""

    cluster_id: str
    brokers: tuple[BrokerPlan, ...]
    redis_port: int
    shard_ports: tuple[int, ...]
    added_ports: tuple[int, ...] = ()

    @property
    def broker_names(self) -> tuple[str, ...]:
        """``kafka`` for a single one, else ``kafka-0`` and so on."""
        if len(self.brokers) == 1:
            return ("kafka",)
        return tuple(f"kafka-{index}" for index in range(len(self.brokers)))

    @property
    def kafka_bootstrap(self) -> str:
        return ",".join(broker.address for broker in self.brokers)

    @property
    def redis_url(self) -> str:
        return f"redis://{LOOPBACK}:{self.redis_port}/0"

    @property
    def shard_urls(self) -> tuple[str, ...]:
        return tuple(f"http://{LOOPBACK}:{port}" for port in self.shard_ports)

    @property
    def server_ports(self) -> tuple[int, ...]:
        """Of every ClickHouse server."""
        return self.shard_ports + self.added_ports

    @property
    def server_urls(self) -> tuple[str, ...]:
        return tuple(f"http://{LOOPBACK}:{port}" for port in self.server_ports)

    def named_ports(self) -> Iterator[tuple[str, int]]:
        for name, broker in zip(self.broker_names, self.brokers, strict=True):
            yield name, broker.port
            yield f"{name}'s controller", broker.controller_port
        yield "redis", self.redis_port
        for index, port in enumerate(self.server_ports):
            yield f"clickhouse-{index}", port


def new_plan(shards: int, brokers: int = BROKERS_DEFAULT, cluster_id: str = "") -> StackPlan:
    """On free ports, for a new Kafka cluster unless ``cluster_id`` is given."""
    redis, *ports = free_ports(1 + shards + _PORTS_PER_BROKER * brokers)
    shard_ports, broker_ports = ports[:shards], ports[shards:]
    return StackPlan(
        cluster_id=cluster_id or _new_cluster_id(),
        brokers=tuple(
            BrokerPlan(port=port, controller_port=controller_port)
            for port, controller_port in zip(broker_ports[::2], broker_ports[1::2], strict=True)
        ),
        redis_port=redis,
        shard_ports=tuple(shard_ports),
    )


def _new_cluster_id() -> str:
    """In Kafka's form: 16 bytes, URL-safe base64, no padding."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def remembered_plan(folder: StackFolder) -> StackPlan | None:
    try:
        return msgspec.json.decode(folder.plan.read_bytes(), type=StackPlan)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def settle_plan(
    folder: StackFolder, shards: int | None, brokers: int | None = None, *, new_ports: bool
) -> StackPlan:
    """The plan to start with, remembered or new; stores it. More shards than remembered become
    servers beside them.

    Raises `RefusedBySafety` for fewer shards, another number of brokers, and new ports of added
    servers, and `DependencyUnreachable` for a busy port.
    """
    remembered = remembered_plan(folder)
    if remembered is None:
        plan = new_plan(shards or SHARDS_DEFAULT, brokers or BROKERS_DEFAULT)
    else:
        plan = remembered
        more = (shards or 0) - len(remembered.server_ports)
        if more > 0:
            added = (*remembered.added_ports, *free_ports(more))
            plan = msgspec.structs.replace(remembered, added_ports=added)
        refuse_other_size(plan, shards, brokers, folder)
        if new_ports and plan.added_ports:
            raise RefusedBySafety(
                f"the shard map of the local stack in {folder.home} names the address of an added "
                "shard: free its port, or run `dia up` without --new-ports."
            )
        if new_ports:
            sizes = (len(remembered.shard_ports), len(remembered.brokers))
            plan = new_plan(*sizes, remembered.cluster_id)
        refuse_busy(plan.named_ports())
    write_atomically(folder.plan, msgspec.json.encode(plan))
    return plan


def refuse_other_size(
    plan: StackPlan, shards: int | None, brokers: int | None, folder: StackFolder
) -> None:
    """Refuse another number of servers than runs, and of brokers, whose partitions and quorum are
    fixed."""
    for option, asked, has, why in (
        (
            "--shards",
            shards,
            len(plan.server_ports),
            "a server is added at a start, none is removed",
        ),
        ("--brokers", brokers, len(plan.brokers), "its topics are replicated over that number"),
    ):
        if asked is not None and asked != has:
            msg = (
                f"the local stack in {folder.home} was made with {has} {option[2:]}, and {why}. "
                f"Run `dia up` without {option}, or name another --home."
            )
            raise RefusedBySafety(msg)


def settle_secrets(folder: StackFolder) -> None:
    """The shards' password and the caches' secret, readable by the owner only."""
    for path in (folder.password, folder.cache_secret):
        if not path.exists():
            write_atomically(path, secrets.token_urlsafe(24).encode())
