"""`dia worker --agents replay`: the process of the replay agent."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.connect.policy.service import PolicyService
    from streams.core.clock import Clock
    from streams.core.settings import Settings
    from streams.core.telemetry.metrics import Metrics
    from streams.core.topics.topology import Topology
    from streams.operate.replay.agent.policies import ReplayPolicy


def serve(settings: Settings, topology: Topology, slot: int) -> None:
    """Raises `SlotInUse`, `AddressUnavailable`, `DependencyUnreachable`, and `UsageError` for an
    unusable file of policies."""
    asyncio.run(_serve(settings, topology, slot))


async def _serve(settings: Settings, topology: Topology, slot: int) -> None:
    from streams.cli.clients import broker_of, shards_of
    from streams.core.clock import SystemClock
    from streams.core.process.listener import bound
    from streams.core.process.version import app_version
    from streams.core.telemetry.health import HealthServer, HealthState, PartitionCounts
    from streams.core.telemetry.metrics import Metrics
    from streams.engine.runtime.identity import SlotLock, instance_id
    from streams.operate.replay.agent.agent import ReplayAgent
    from streams.operate.replay.agent.policies import read_policies

    policies = read_policies(settings.replay_policy_file, topology)
    folder, clock = settings.state_path() / "replay", SystemClock()
    health, metrics = HealthState(clock), Metrics(version=app_version(), process="replay")
    service = _policy_service(settings, policies, clock, metrics)
    lock = SlotLock(folder, slot)
    port = settings.http_port + slot if settings.http_port else 0
    try:
        listener = bound(settings.http_host, port, "DIA_HTTP_PORT")
    except BaseException:
        lock.close()
        raise
    broker, shards = broker_of(settings), await shards_of(settings, topology)
    server = HealthServer(health, metrics, clock, listener)
    agent = ReplayAgent(
        broker,
        shards,
        clock,
        settings,
        f"{instance_id(folder, slot)}-replay",
        topology,
        policies=policies,
        answers={"policy_service": service.answers} if service is not None else {},
    )

    def joined() -> None:
        health.mark_started()
        health.set_partitions(PartitionCounts())

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await server.start()
    try:
        await agent.run(joined)
    finally:
        health.mark_draining()
        await server.stop()
        if service is not None:
            await service.close()
        if shards is not None:
            await shards.close()
        lock.close()


def _policy_service(
    settings: Settings, policies: Iterable[ReplayPolicy], clock: Clock, metrics: Metrics
) -> PolicyService | None:
    """The client for policies that wait for the service."""
    from streams.connect.policy.service import PolicyService
    from streams.core.errors import UsageError

    waiting = [policy.name for policy in policies if policy.after == "policy_service"]
    if not waiting:
        return None
    if not settings.policy_url:
        raise UsageError(
            f"policy {waiting[0]} of DIA_REPLAY_POLICY_FILE waits for the policy service, and no "
            f"address of it is known. Set DIA_POLICY_URL, or leave `after` out."
        )
    return PolicyService.from_settings(settings, clock, metrics)
