"""The code of the extension guide runs, since users copy it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "extend.md"
OWN_APP, OWN_TEST, WINDOW = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_the_app_of_the_guide_works_as_described(app_tester, tmp_path, monkeypatch):
    """A topic, a window, a sink and a dead-letter code in one app, through a crash after each
    event.
    """
    (tmp_path / "clicks_app.py").write_text(OWN_APP)
    monkeypatch.syspath_prepend(tmp_path)
    import clicks_app

    names = vars(clicks_app)
    exec(compile(OWN_TEST, str(GUIDE), "exec"), names)
    names["test_clicks"](app_tester)
    del sys.modules["clicks_app"]


async def test_the_sink_of_the_guide_leaves_one_copy_of_a_repeated_batch(tmp_path, monkeypatch):
    """The tester keeps rows in memory, so only this test runs the sink class of the guide."""
    (tmp_path / "clicks_sink.py").write_text(OWN_APP)
    monkeypatch.syspath_prepend(tmp_path)
    import clicks_sink

    from streams import RowBatch, TopicPartition

    sink = clicks_sink.TextFiles(tmp_path / "rows")
    for version in (1, 2, 1):
        await sink.write(
            RowBatch(
                sink="files",
                group="clicks-group",
                source=TopicPartition("clicks", 0),
                version=version,
                part=0,
                columns={"page": ["/"], "user": [f"ada-{version}"]},
            )
        )
    await sink.close()
    written = [file.read_text() for file in sorted((tmp_path / "rows").iterdir())]
    assert ["ada-1" in text for text in written] == [True, False]
    del sys.modules["clicks_sink"]


def test_the_window_of_the_guide_fits_the_built_in_app():
    """Declared after the app's own declarations, as in the guide: the app accepts one more agent."""
    names: dict[str, object] = {"__name__": "built_in_app"}
    for source in ((ROOT / "agents" / "app.py").read_text(), WINDOW):
        exec(compile(source, "agents/app.py", "exec"), names)
    app = names["app"]
    assert "decision.simulation.result-windows" in app.agents
    assert "simulations_per_hour" in app.clickhouse_tables


def test_the_guide_names_the_topic_that_no_agent_reads():
    """Windows of another topic would be refused."""
    from agents.app import app

    read = {agent.source.name for agent in app.agents.values()}
    assert set(app.topics) - read == {"decision.simulation.result"}
