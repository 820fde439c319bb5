"""The console parses only the workers' metrics that it shows, unchanged."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams.core.clock import SystemClock
from streams.core.telemetry.declaring import PREFIX
from streams.core.telemetry.metrics import Metrics
from streams.engine.health.live_workers import LiveWorker
from streams.http.console.pipeline import workers
from streams.http.console.pipeline.workers import READ, Workers


@pytest.fixture
def text() -> str:
    """The metrics text of a worker, with a value of every kind that is parsed."""
    metrics = Metrics()
    where = ("model.metrics", "0")
    for number, gauge in enumerate((metrics.state.live_windows, metrics.state.unacked_rows)):
        gauge.labels(*where).set(number + 1)
    metrics.partition.restore_records.labels(*where).inc(5)
    metrics.jobs.waiting.labels("high").set(3)
    metrics.jobs.running.set(2)
    return generate_latest(metrics.registry).decode()


@pytest.fixture
def survey(tmp_path, monkeypatch, text):
    monkeypatch.setattr(workers, "live_workers", lambda state: [LiveWorker(pid=1, slot=0)])

    async def told(self, http, worker):
        return text

    monkeypatch.setattr(Workers, "_text", told)
    return Workers(tmp_path, "127.0.0.1", SystemClock()).survey


async def test_selected_lines_parse_like_the_whole_text(survey, text):
    """Lines are selected before parsing: each must equal the result of parsing all."""
    found = await survey()
    every = [
        (one.name.removeprefix(PREFIX), one.labels, one.value)
        for family in text_string_to_metric_families(text)
        for one in family.samples
    ]
    wanted = [one for one in every if one[0] in READ]
    told = [(n, one.labels, one.value) for n, ones in found.samples.items() for one in ones]
    assert sorted(told, key=repr) == sorted(wanted, key=repr)
    assert found.total("live_windows", topic="model.metrics", partition="0") == 1
    assert found.total("restore_records_total") == 5
    assert found.total("jobs_waiting", lane="high") == 3


def test_every_selected_name_is_a_metric_of_workers():
    """A misspelt name would always be unknown."""
    names = set()
    for family in Metrics().registry.collect():
        name = family.name.removeprefix(PREFIX)
        names |= {name, f"{name}_total", f"{name}_bucket", f"{name}_info"}
    assert names >= READ


async def test_an_unselected_metric_raises(survey):
    """An unparsed metric must not be zero."""
    found = await survey()
    with pytest.raises(AssertionError):
        found.total("records_read_total")
