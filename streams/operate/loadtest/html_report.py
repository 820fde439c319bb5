"""The report of a load test: one HTML file without scripts, fonts or addresses of other hosts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from streams.operate.loadtest.plot import PlotLine, TargetLine, plot
from streams.operate.loadtest.record import FlowResult, LoadTestRecord
from streams.operate.loadtest.verdict import ALL, JudgedThreshold

_LATE_S: Final = 0.1
"""Above it, the machine that sends is a part of the latencies."""

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--line:#d0d7de;--good:#1a7f37;--bad:#b42318;
--p50:#0969da;--p95:#8250df;--p99:#bc4c00;--target:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--line:#30363d;--good:#3fb950;
--bad:#ff7b72;--p50:#58a6ff;--p95:#bc8cff;--p99:#ffa657;--target:#ff7b72}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:760px;
margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
th,td{border-bottom:1px solid var(--line);padding:.3rem .5rem;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.held{color:var(--good);font-weight:600}.failed{color:var(--bad);font-weight:600}
tr.failed td{background:color-mix(in srgb,var(--bad) 14%,transparent)}
figure{margin:1rem 0}svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--ink)}
figcaption span{margin-left:.8rem}.grid{stroke:var(--line)}
path{fill:none;stroke-width:1.6}path.p50,path.answered{stroke:var(--p50)}path.p95{stroke:var(--p95)}
path.p99{stroke:var(--p99)}path.failures{stroke:var(--bad)}line.target{stroke:var(--target);stroke-dasharray:5 4}
span.p50,span.answered{color:var(--p50)}span.p95{color:var(--p95)}span.p99{color:var(--p99)}
span.failures,span.target{color:var(--bad)}
"""


def html_report(record: LoadTestRecord) -> str:
    return "\n".join(_lines(record)) + "\n"


def figure(value: float | None, unit: str) -> str:
    """For people: three digits and the unit."""
    if value is None:
        return "not measured"
    if unit == "share":
        return f"{100 * value:.3g} %"
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{shown} {unit}".rstrip()


def _lines(record: LoadTestRecord) -> Iterator[str]:
    title = f"Load test {record.name}"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(title)}</h1>"
    yield f"<p>{_verdict(record)}</p>"
    began = datetime.fromtimestamp(record.began_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield (
        f"<p>Run {escape(record.run)}, begun {began}; requests were due for {record.sent_s:.0f} s of "
        f"{record.duration_s:.0f} s, with a ramp of {record.ramp_s:.0f} s. Edge {escape(record.edge)}, "
        f"console {escape(record.console)}. A latency counts from the time at which its request was "
        f"due.</p>"
    )
    if record.sender_late_s > _LATE_S:
        yield (
            f'<p class="failed">The machine that sends was up to {record.sender_late_s:.2f} s late: a part '
            "of the latencies is its own.</p>"
        )
    yield "<h2>Thresholds</h2>"
    yield _thresholds(record.thresholds)
    yield "<h2>Flows</h2>"
    yield _flows(record)
    for flow in record.flows:
        yield from _plots(flow, record.thresholds)
    if record.freshness is not None:
        yield "<h2>Freshness</h2>"
        yield "<p>From the time at which a probe is due until the console shows its row.</p>"
        yield from _plots(record.freshness, record.thresholds)
    yield from _exactness(record)
    yield "</body></html>"


def _verdict(record: LoadTestRecord) -> str:
    if record.interrupted:
        return '<span class="failed">Interrupted before its end.</span>'
    failed = sum(not one.held for one in record.thresholds)
    if failed:
        return (
            f'<span class="failed">{failed} of {len(record.thresholds)} thresholds failed.</span>'
        )
    return f'<span class="held">All {len(record.thresholds)} thresholds held.</span>'


def _thresholds(thresholds: Sequence[JudgedThreshold]) -> str:
    return _table(
        (("flow", ""), ("threshold", ""), ("target", "n"), ("achieved", "n"), ("", "")),
        (
            (
                "held" if one.held else "failed",
                one.subject,
                one.what,
                f"{'≥' if one.at_least else '≤'} {figure(one.target, one.unit)}",
                figure(one.achieved, one.unit),
                "held" if one.held else "failed",
            )
            for one in thresholds
        ),
    )


def _flows(record: LoadTestRecord) -> str:
    columns = (("flow", ""), ("requests", "n"), ("failed", "n"), ("events", "n"), ("p50", "n"),
               ("p95", "n"), ("p99", "n"), ("most", "n"))  # fmt: skip
    flows = [*record.flows, *([record.freshness] if record.freshness is not None else [])]
    return _table(
        columns,
        (
            (
                "",
                one.name,
                f"{one.requests:,}",
                f"{one.failed:,}",
                f"{one.events:,}",
                *(figure(ms, "ms") for ms in (one.p50_ms, one.p95_ms, one.p99_ms, one.max_ms)),
            )
            for one in flows
        ),
    )


def _plots(flow: FlowResult, thresholds: Iterable[JudgedThreshold]) -> Iterator[str]:
    yield f"<h3>{escape(flow.name)}</h3>"
    if flow.note:
        yield f"<p>{escape(flow.note)}</p>"
    per_s = [count / flow.width_s for count in flow.answered]
    failed = [count / flow.width_s for count in flow.failures]
    rates = (PlotLine("answered", "answered", per_s), PlotLine("failed", "failures", failed))
    yield plot("Requests", "/s", flow.width_s, rates, None)
    latencies = (
        PlotLine("p50", "p50", flow.p50_ms_by_time),
        PlotLine("p95", "p95", flow.p95_ms_by_time),
        PlotLine("p99", "p99", flow.p99_ms_by_time),
    )
    yield plot("Latency", "ms", flow.width_s, latencies, _strictest(flow.name, thresholds))
    if flow.codes:
        codes = ", ".join(f"{code}: {count:,}" for code, count in flow.codes.items())
        yield f'<p class="failed">Failures: {escape(codes)}</p>'


def _strictest(name: str, thresholds: Iterable[JudgedThreshold]) -> TargetLine | None:
    """The flow's lowest bound of a latency; else that of all flows."""
    found = [
        (one.subject != name, one.target * (1000 if one.unit == "s" else 1), one.what)
        for one in thresholds
        if one.unit in ("ms", "s") and one.subject in (name, ALL) and not one.at_least
    ]
    if not found:
        return None
    _, bound_ms, what = min(found)
    return TargetLine(f"{what} ≤ {bound_ms:g} ms", bound_ms)


def _exactness(record: LoadTestRecord) -> Iterator[str]:
    if record.exactness is None:
        return
    yield "<h2>Exactness</h2>"
    yield _table(
        (("check", ""), ("expected", "n"), ("found", "n"), ("", "")),
        (
            (
                "held" if one.ok else "failed",
                one.what,
                f"{one.least:,}" + (f" to {one.most:,}" if one.most != one.least else ""),
                "unknown" if one.found is None else f"{one.found:,}",
                "held" if one.ok else "failed",
            )
            for one in record.exactness.checks
        ),
    )
    for note in record.exactness.notes:
        yield f"<p>{escape(note)}</p>"


def _table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> str:
    """A column is (name, class); a row begins with its class, which its last cell has, too."""
    head = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in columns)
    body = "".join(
        f'<tr class="{state}">'
        + "".join(
            f'<td class="{kind or (state if not name else "")}">{escape(cell)}</td>'
            for (name, kind), cell in zip(columns, cells, strict=True)
        )
        + "</tr>"
        for state, *cells in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
