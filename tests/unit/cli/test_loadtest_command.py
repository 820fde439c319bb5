"""`dia loadtest`, against an edge and a console that keep what they get in memory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from streams import cli
from streams.operate.loadtest.record import folder_of, newest
from tests.listening import listening

TEST = """
name = "small"
duration = "1s"
arrivals = "even"
drain = "2s"
exact_wait = "1s"
[thresholds]
failures = 0
exact = true
{thresholds}
[freshness]
topic = "model.metrics"
tenants = ["acme"]
every = "1s"
[[flow]]
name = "metrics"
post = "model.metrics"
rate = 10
batch = 3
{flow}
[flow.event]
event_id = "{{id}}"
tenant_id = "acme"
model_id = "load-{{run}}"
metric = "m-{{number:2}}"
ts = "{{now_ms}}"
value = 1.0
[[flow]]
name = "search"
get = [{{ path = "/api/models" }}]
rate = 10
"""


class Pipeline:
    """Its answers are those of an edge and a console; faults are chosen by a test."""

    def __init__(self):
        self.rows = Counter()
        self.applied = 0
        self.lost = 0
        """events that are accepted and then forgotten"""
        self.search_waits_s = 0.0
        self.refuse = False
        self.tokens = set()
        self.posted = threading.Event()

    @asynccontextmanager
    async def opened(self):
        yield Starlette(
            routes=[
                Route("/v1/events/{topic}", self.post, methods=["POST"]),
                Route("/api/series", self.series),
                Route("/api/pipeline", self.ledger),
                Route("/api/models", self.models),
                Route("/healthz", self.models),
            ]
        )

    async def post(self, request):
        self.posted.set()
        self.tokens.add(request.headers["authorization"])
        if self.refuse:
            return JSONResponse({"code": "rate_limited"}, 429)
        events = [json.loads(line) for line in (await request.body()).splitlines()]
        for event in events:
            if self.lost:
                self.lost -= 1
                continue
            self.applied += 1
            self.rows[event["tenant_id"], event["model_id"], event["metric"]] += 1
        return JSONResponse({"accepted": len(events), "rejected_total": 0}, 202)

    async def series(self, request):
        query = request.query_params
        count = self.rows[query["tenant"], query["model"], query["metric"]]
        return JSONResponse({"columns": {"count": [count] if count else []}})

    async def ledger(self, request):
        row = {"applied": self.applied, "dead": 0, "balanced": True, "epoch": 0}
        one = {"topic": "model.metrics", "partition": 0, "ledger": row}
        return JSONResponse({"ledger_known": True, "partitions": [one]})

    async def models(self, request):
        await asyncio.sleep(self.search_waits_s)
        return JSONResponse({"models": []})


@pytest.fixture
def pipeline():
    return Pipeline()


@pytest.fixture
def dia(pipeline, tmp_path, monkeypatch, capsys):
    """Run the test, with lines added to the file; gives exit code, JSON record and stderr."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    with listening(pipeline.opened) as url:

        def run(thresholds="", flow="", edge=url, options=()):
            file = tmp_path / "small.toml"
            file.write_text(TEST.format(thresholds=thresholds, flow=flow))
            at = ("--edge", edge, "--console", url, *options)
            code = cli.main(("loadtest", "run", str(file), *at, "--json"))
            out, err = capsys.readouterr()
            return code, json.loads(out) if out else None, err

        yield run


def test_a_load_test_that_holds_says_so_and_writes_a_report(dia, pipeline, tmp_path):
    """Each accepted event is in the ledger and in the rows; the token of the run is gone at its end."""
    code, record, err = dia("freshness_p95_s = 60\np95_ms = 60000")
    assert code == 0, err
    assert record["held"]
    metrics, search = record["flows"]
    assert (metrics["requests"], metrics["events"], search["requests"]) == (10, 30, 10)
    checks = {one["what"]: one["found"] for one in record["exactness"]["checks"]}
    assert checks["model.metrics: applied"] == pipeline.applied == 31
    assert checks["series whose rows differ"] == 0
    assert newest(folder_of(tmp_path)).run == record["run"]
    page = next(folder_of(tmp_path).glob("*.html")).read_text()
    assert "All 4 thresholds held" in page
    assert "://" not in page.replace(record["edge"], "").replace(record["console"], "")
    assert "<script" not in page
    assert len(pipeline.tokens) == 1
    assert json.loads((tmp_path / "access" / "tokens.json").read_text())["tokens"] == []


def test_a_slow_console_fails_its_threshold_by_exit_code(dia, pipeline, tmp_path):
    """A pipeline of deployment stops at the exit code; the report is red there."""
    pipeline.search_waits_s = 0.2
    code, record, err = dia("p99_ms = 150")
    assert code == 1
    assert "thresholds_failed" in err
    [failed] = [one for one in record["thresholds"] if one["what"] == "latency p99"]
    assert failed["achieved"] > 200
    page = next(folder_of(tmp_path).glob("*.html")).read_text()
    assert '<tr class="failed">' in page


def test_an_event_that_was_accepted_and_lost_fails_the_test(dia, pipeline):
    """Fast answers for lost events are worth nothing."""
    pipeline.lost = 1
    code, record, _ = dia()
    assert code == 1
    applied = record["exactness"]["checks"][0]
    assert applied["found"] == applied["least"] - 1


def test_refusals_are_failures_and_no_latencies(dia, pipeline):
    """A quota that refuses quickly would else make the percentiles better."""
    pipeline.refuse = True
    code, record, _ = dia("", "[flow.thresholds]\np99_ms = 60000")
    assert code == 1
    metrics = record["flows"][0]
    assert (metrics["failed"], metrics["codes"], metrics["p99_ms"]) == (10, {"429": 10}, None)
    [p99] = [one for one in record["thresholds"] if one["subject"] == "metrics"]
    assert p99["achieved"] is None


def test_an_edge_that_is_away_is_unreachable(dia):
    """Exit code 4 before anything is sent, and no report of a test that was none."""
    code, record, err = dia(edge="http://127.0.0.1:1")
    assert (code, record) == (4, None)
    assert "the edge at http://127.0.0.1:1 does not answer" in err


def test_a_token_goes_to_no_address_in_clear_text(dia):
    """The token of the run is an admin's."""
    code, _, err = dia(edge="http://edge.example.com")
    assert code == 2
    assert "use https" in err


def test_an_interrupted_test_writes_what_it_measured(dia, pipeline, tmp_path):
    """A test of an hour that is stopped after half of it has shown something."""

    def interrupt():
        pipeline.posted.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code, record, err = dia(options=("--duration", "10m"))
    thread.join()
    assert code == 130, err
    assert record["interrupted"]
    assert not record["held"]
    assert record["sent_s"] < 600
    assert "Interrupted before its end" in next(folder_of(tmp_path).glob("*.html")).read_text()


def test_the_example_command_prints_a_file_that_runs(capsys, tmp_path, monkeypatch):
    """An image has no repository to copy the example from."""
    from streams.operate.loadtest.file import read_file

    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    assert cli.main(("loadtest", "example")) == 0
    file = tmp_path / "platform.toml"
    file.write_text(capsys.readouterr().out)
    assert read_file(file).name == "platform"
