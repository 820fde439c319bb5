"""A local Kafka cluster under test: brokers by role, which a test can stop, cut off or empty."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient

from streams.core.settings import default_home
from streams.dev.local import jars, kafka
from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import StackPlan
from streams.dev.local.stack import StackStatus, status
from streams.dev.local.wheels import locate
from tests.faults.broker_links import CLIENTS, BrokerLinks
from tests.faults.services import absent

TOOL_TIMEOUT_S = 60.0
IN_SYNC_S = 90.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Broker names are service names: ``kafka-0`` has the node id 1, and so on."""

    stack: StackStatus
    plan: StackPlan
    links: BrokerLinks

    @property
    def brokers(self) -> tuple[str, ...]:
        return self.plan.broker_names

    async def coordinator_of(self, group: str) -> str:
        """The broker that holds the committed offsets of ``group``."""
        async with self._admin() as admin:
            return self.brokers[await admin.find_coordinator(group) - 1]

    async def leader_of(self, topic: str, partition: int) -> str:
        async with self._admin() as admin:
            [described] = await admin.describe_topics([topic])
        leads = {p["partition"]: p["leader"] for p in described["partitions"]}
        return self.brokers[leads[partition] - 1]

    async def replicas(self) -> set[int]:
        """The numbers of replicas of the partitions."""
        return {len(p["replicas"]) for _, p in await self._partitions()}

    async def until_in_sync(self) -> None:
        """Wait until every replica of every partition has caught up with its leader."""
        deadline = time.monotonic() + IN_SYNC_S
        while behind := await self._behind():
            assert time.monotonic() < deadline, f"replicas stay behind: {sorted(behind)[:5]}"
            await asyncio.sleep(0.2)

    @contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        """Inside, the brokers are suspended (SIGSTOP): their connections stay open and silent."""
        pids = [s.pid for s in status(self.stack.home).services if s.name in names and s.pid]
        assert len(pids) == len(names), f"{names} do not all run"
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def cut_from_peers(self, name: str) -> Iterator[None]:
        """Clients reach the broker; other brokers and their controllers do not."""
        peers = [peer for peer in self.brokers if peer != name]
        pairs = [(peer, name) for peer in peers] + [(name, peer) for peer in peers]
        with self.links.cut(*pairs):
            yield

    @contextmanager
    def cut_from_clients(self, name: str) -> Iterator[None]:
        """Other brokers reach the broker; clients do not."""
        with self.links.cut((CLIENTS, name)):
            yield

    @contextmanager
    def without_disk(self, name: str) -> Iterator[None]:
        """Inside, the broker is dead and its data deleted; afterwards it starts with an empty disk."""
        folder = StackFolder.of(self.stack.home)
        with absent(self.stack.home, name):
            shutil.rmtree(folder.broker(name) / "data")
            yield
            java, class_path = self._java()
            kafka.prepare(folder, self.plan, java, class_path)

    @contextmanager
    def quota(self, bytes_per_s: int) -> Iterator[None]:
        """Inside, every client may fetch and produce this many bytes per second from each broker."""
        names = ("consumer_byte_rate", "producer_byte_rate")
        self._configure("--add-config", ",".join(f"{name}={bytes_per_s}" for name in names))
        try:
            yield
        finally:
            self._configure("--delete-config", ",".join(names))

    def _configure(self, *change: str) -> None:
        java, class_path = self._java()
        folder = StackFolder.of(self.stack.home)
        place = folder.broker(self.brokers[0])
        tool = [*kafka.command(place, java, class_path), "kafka.admin.ConfigCommand"]
        whom = ["--entity-type", "clients", "--entity-default", "--alter"]
        where = ["--bootstrap-server", self.plan.kafka_bootstrap]
        done = subprocess.run(
            [*tool, *where, *whom, *change],
            capture_output=True,
            text=True,
            timeout=TOOL_TIMEOUT_S,
            check=False,
            cwd=folder.logs,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @staticmethod
    def _java() -> tuple:
        return locate().java, jars.ensure(jars.cache_folder(os.environ, default_home()), print)

    async def _behind(self) -> Sequence[str]:
        return [
            f"{topic}/{p['partition']}"
            for topic, p in await self._partitions()
            if p["leader"] < 0 or len(p["isr"]) < len(p["replicas"])
        ]

    async def _partitions(self) -> list[tuple[str, dict]]:
        """Topic and description of each partition."""
        async with self._admin() as admin:
            described = await admin.describe_topics()
        return [(topic["topic"], p) for topic in described for p in topic["partitions"]]

    @contextlib.asynccontextmanager
    async def _admin(self):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.plan.kafka_bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()
