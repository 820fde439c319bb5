"""The handlers of topics, messages and traces, over one broker."""

from __future__ import annotations

from dataclasses import dataclass

from streams.core.clock import Clock
from streams.core.settings import Settings
from streams.core.types import Broker
from streams.engine.app.app import App
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.access.operations import Operations
from streams.http.console.logs import Logs
from streams.http.console.topics.messages import MessageHandler
from streams.http.console.topics.topics import TopicHandler
from streams.http.console.topics.traces import TraceHandler


@dataclass(frozen=True, slots=True)
class TopicHandlers:
    topics: TopicHandler
    messages: MessageHandler
    traces: TraceHandler

    @classmethod
    def of(
        cls,
        gate: Authorizer,
        app: App,
        settings: Settings,
        broker: Broker,
        logs: Logs,
        operations: Operations,
        clock: Clock,
    ) -> TopicHandlers:
        topology = app.topology
        agents = {one.source.name: one for one in app.agents.values()}
        return cls(
            TopicHandler(gate, settings, topology, broker, logs, clock),
            MessageHandler(gate, topology, agents, settings, broker, logs, operations, clock),
            TraceHandler(gate, app, settings, broker, logs, clock),
        )

    async def close(self) -> None:
        await self.topics.close()
