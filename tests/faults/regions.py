"""Two regions under test: a stack, workers, an edge and a mirror in each, of which one is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from streams.core.process import tether
from streams.core.types import Headers
from streams.dev.local.stack import up
from streams.http.edge.exchange import NDJSON
from streams.operate.regions.mirrored import offsets_topic
from streams.operate.regions.word import journal_of
from tests.faults.edge_process import EdgeUnderTest
from tests.faults.trial import Trial

LEASE_S = 6
PATIENCE_S = 400.0
RETRY_S = 0.3


class MirrorProcess:
    """`dia region mirror`, which becomes MirrorMaker's Java; it ends with the test's process."""

    def __init__(self, home: Path, environ: dict[str, str]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        guard = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve()), str(os.getpid())]
        with (home / "mirror.out").open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, sys.executable, "-m", "streams", "region", "mirror"],
                env={**environ, "DIA_HOME": str(home)}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        self._child.kill()
        self._child.wait(PATIENCE_S)


class RegionUnderTest:
    """``trial`` has its topics, tables and workers."""

    def __init__(self, name: str, trial: Trial, file: Path) -> None:
        self.name = name
        self.trial = trial
        trial.environ |= {"DIA_REGION": name, "DIA_REGIONS_FILE": str(file)}
        self.edge = EdgeUnderTest(trial.folder / "edge", trial.environ)
        self._mirror: MirrorProcess | None = None

    async def clean(self, others: Sequence[str]) -> None:
        """Without words and mirrors of an earlier run."""
        names = [journal_of("dia").topic, *map(offsets_topic, others)]
        await self.trial.with_admin(lambda admin: admin.delete_topics(names))

    async def start(self, *, edge: bool = True) -> None:
        if edge:
            await asyncio.to_thread(self.edge.start)
        self.restart_mirror()
        await self.trial.worker().ready()

    def restart_mirror(self) -> None:
        self.stop_mirror()
        self._mirror = MirrorProcess(self.trial.folder / "home", self.trial.environ)

    def stop_mirror(self) -> None:
        if self._mirror is not None:
            self._mirror.kill()
            self._mirror = None

    def lose(self) -> None:
        """kill -9 of every process of the region; its services die with their supervisor."""
        pid = self.trial.stack.supervisor_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.edge.kill()
        self.stop_mirror()
        for worker in self.trial.workers:
            worker.end()

    async def bring_back(self) -> None:
        """Its services on their ports and disks, then the rest."""
        home = self.trial.stack.home
        self.trial.stack = await asyncio.to_thread(up, home, owner_pid=os.getpid())
        await self.start()

    def end(self) -> None:
        self.edge.kill()
        self.stop_mirror()


class GlobalAddress:
    """A `PlainProducer` that posts to the region whose edge says that it is active, as clients do
    behind a global load balancer; unanswered events are posted again."""

    def __init__(self, regions: Sequence[RegionUnderTest]) -> None:
        self._regions = regions
        self._http = httpx.AsyncClient(timeout=60)
        self.accepted: dict[str, int] = {}

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        """At the end of a feed; another one may follow."""

    async def end(self) -> None:
        await self._http.aclose()

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes], headers: Headers = ()
    ) -> asyncio.Future[None]:
        assert not headers, "an edge takes none"
        return asyncio.ensure_future(self._post(topic, b"\n".join(values), len(values)))

    async def _post(self, topic: str, body: bytes, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                region = await self._active()
                if region is not None and await self._taken(region, topic, body, count):
                    return
                await asyncio.sleep(RETRY_S)

    async def _active(self) -> RegionUnderTest | None:
        for region in self._regions:
            try:
                answer = await self._http.get(f"{region.edge.url}/health/region")
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                return region
        return None

    async def _taken(self, region: RegionUnderTest, topic: str, body: bytes, count: int) -> bool:
        headers = {
            "Content-Type": NDJSON,
            "Authorization": f"Bearer {region.edge.token}",
        }
        url = f"{region.edge.url}/v1/events/{topic}"
        try:
            answer = await self._http.post(url, content=body, headers=headers)
        except httpx.TransportError:
            return False
        if answer.status_code != 202:
            assert answer.status_code in {429, 503}, answer.text
            return False
        assert answer.json()["accepted"] == count
        self.accepted[region.name] = self.accepted.get(region.name, 0) + count
        return True
