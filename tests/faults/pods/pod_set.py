"""The pods of a rendered StatefulSet, each a `dia worker` process on the trial's stack.

It stands in for Kubernetes' controller and for a kubelet: neither runs here. Ordinals come and go as with
`podManagementPolicy: Parallel`: missing ones start at once, those above the number end at once, and an ordinal
that still ends is started after it ended. A pod keeps its claim, so an ordinal that returns finds its state
(`persistentVolumeClaimRetentionPolicy`), and the name of its member. A pod that ends gets SIGTERM, and has the
manifest's grace period to exit.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

from tests.faults.trial import Trial
from tests.faults.worker import FaultWorker

_OF_THE_STACK = ("kafka_", "clickhouse_", "redis_", "http_", "state_dir")
"""Settings that name the services of a cluster, or a place in a container."""


class PodSet:
    def __init__(self, trial: Trial, stateful: Mapping[str, Any], **settings: Any) -> None:
        """``settings`` go over those of the manifest's environment."""
        pod = stateful["spec"]["template"]["spec"]
        [container] = pod["containers"]
        command, option, self._agents = container["args"]
        assert (command, option) == ("worker", "--agents"), container["args"]
        assert stateful["spec"]["podManagementPolicy"] == "Parallel"
        assert stateful["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"
        named = {one["name"].removeprefix("DIA_").lower(): one["value"] for one in container["env"]}
        kept = {name: value for name, value in named.items() if not name.startswith(_OF_THE_STACK)}
        self._settings = {**kept, **settings}
        self._name = stateful["metadata"]["name"]
        self._grace_s = float(pod["terminationGracePeriodSeconds"])
        self._trial = trial
        self._pods: dict[int, FaultWorker] = {}
        self._ending: dict[int, asyncio.Task[int]] = {}
        self.exits: list[int] = []
        """exit codes of pods that ended by a smaller number"""
        self.replicas = 0

    def scale(self, replicas: int) -> None:
        self.replicas = replicas
        for ordinal in [ordinal for ordinal in self._pods if ordinal >= replicas]:
            self._ending[ordinal] = asyncio.create_task(self._end(self._pods.pop(ordinal)))
        self.reconcile()

    def reconcile(self) -> None:
        """Start what is missing. A pod that ended by itself fails the test."""
        for ordinal, ended in list(self._ending.items()):
            if ended.done():
                self.exits.append(ended.result())
                del self._ending[ordinal]
        for ordinal in range(self.replicas):
            if ordinal not in self._pods and ordinal not in self._ending:
                self._pods[ordinal] = self._trial.worker(
                    ordinal,
                    state=f"{self._name}-{ordinal}",
                    agents=self._agents,
                    **self._settings,
                )
        for worker in self._pods.values():
            assert worker.exit_code is None, worker.tail()

    @property
    def settled(self) -> bool:
        """Whether each pod is ready and none ends."""
        told = [worker.told() for worker in self._pods.values()]
        return not self._ending and all(one is not None and one.ready for one in told)

    def ports(self) -> dict[str, int]:
        """The ports with the metrics of pods that run, by their names."""
        found = {}
        for ordinal, worker in self._pods.items():
            told = worker.told()
            if told is not None and told.http_port is not None:
                found[f"{self._name}-{ordinal}"] = told.http_port
        return found

    async def _end(self, worker: FaultWorker) -> int:
        """Its exit code; raises `subprocess.TimeoutExpired` where it does not end in its grace period."""
        worker.send(signal.SIGTERM)
        return await worker.ended(self._grace_s)
