"""dia topics plan and apply, on a broker in memory."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType

from streams import App, Record
from streams.cli import clients, main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.operate.topics.topics import wanted_topics


class Click(Record):
    page: str


def test_growing_a_source_names_the_tables_that_keep_entries_of_moved_keys(
    tmp_path, monkeypatch, capsys
):
    """The counts of a moved key are split for good: the operator must know before the consent."""
    app = App("acme")
    clicks = app.topic("clicks", value_type=Click, key_field="page", partitions=2)
    counts = app.Table("counts", default=int)

    @app.agent(clicks)
    async def count(stream):
        async for click in stream:
            counts[click.page] += 1

    broker = MemoryBroker(SystemClock())

    async def create() -> None:
        await (await broker.admin()).create_topics(wanted_topics(app.topology))

    asyncio.run(create())
    module = ModuleType("grown_app")
    module.app = app
    monkeypatch.setitem(sys.modules, "grown_app", module)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_TOPIC_PARTITIONS", "clicks=4")
    monkeypatch.setattr(clients, "broker_of", lambda settings: broker)
    assert main(["--app", "grown_app:app", "topics", "plan"]) == 5
    assert "their entries stay behind in counts" in capsys.readouterr().out
    assert main(["--app", "grown_app:app", "topics", "apply"]) == 5
    assert "Entries of counts stay in their partition" in capsys.readouterr().err
    assert main(["--app", "grown_app:app", "topics", "apply", "--accept-dedupe-gap"]) == 0
