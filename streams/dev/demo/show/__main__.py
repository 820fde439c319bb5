"""`python -m streams.dev.demo.show`: the console of a running demo, with the demo's page."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from agents.app import MODEL_METRICS, app
from streams.connect.access.listening import Listening
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.clock import SystemClock
from streams.core.settings import Settings, load
from streams.core.telemetry.logs import configure
from streams.dev.demo.reading import TopicReading
from streams.dev.demo.serving import COMPARED
from streams.dev.demo.show.faults import DemoFaults
from streams.dev.demo.show.handler import DemoHandler
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.addition import ConsoleAddition
from streams.http.console.reply import Endpoint
from streams.http.console.serving import serve


class LiveCounts:
    """One request at a time reads them: each open page asks every two seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()

    async def __call__(self) -> Mapping[str, int]:
        """Raises `ShardUnavailable` and `BrokerUnavailable`."""
        broker = KafkaBroker.from_settings(self._settings)
        async with self._turn:
            reading = await TopicReading.open(self._settings, broker, MODEL_METRICS)
            try:
                return await reading.balance()
            finally:
                await reading.close()


def addition(settings: Settings) -> ConsoleAddition:
    home = settings.home_path()
    compared = home / COMPARED
    faults = DemoFaults(
        *(home, len(settings.shards()), KafkaBroker.from_settings(settings), SystemClock()),
        serving=compared.exists,
    )

    def routes(gate: Authorizer) -> Mapping[tuple[str, str], Endpoint]:
        return DemoHandler(gate, faults, LiveCounts(settings), compared).routes()

    return ConsoleAddition(("demo",), routes)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    settings, _ = load()
    configure(settings.log_format, settings.log_level)
    serve(settings, app, Listening(host=settings.console_host, port=0), _say, addition(settings))


if __name__ == "__main__":
    main()
