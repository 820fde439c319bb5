"""What the parts of a partition know of it, besides what each declares for itself."""

from __future__ import annotations

from typing import Protocol

from streams.core.clock import Clock
from streams.core.settings import Settings
from streams.core.types import TopicPartition
from streams.engine.agents.job_agent import Agent


class KnownPartition(Protocol):
    clock: Clock

    @property
    def tp(self) -> TopicPartition: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def agent(self) -> Agent: ...
