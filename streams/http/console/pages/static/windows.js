// Windows of several series on one grid, beside those of the period before, and what can be drawn of them.

export const COLUMNS = ["count", "mean", "sd", "min", "max", "last", "p50", "p95", "p99"];

// What the series do not share tells them apart.
export function named(series) {
  const several = (name) => new Set(series.map((one) => one[name])).size > 1;
  const parts = ["model", "metric"].filter(several);
  return (one) => (parts.length ? parts.map((name) => one[name]).join(" ") : one.model);
}

const first = ({ from_s, step_s }) => Math.floor(from_s / step_s) * step_s;

// Every series on one grid of windows: a window without events is a gap, never a line across. `before` is the answer
// for the period before, as long as this one; its windows are moved to the times of this one.
export function gridded(answer, before) {
  const { to_s, step_s, series } = answer;
  const t = [];
  for (let at = first(answer); at < to_s; at += step_s) t.push(at);
  const name = named(series);
  const columnsOf = (one, later) => {
    const rows = new Map(one.columns.t.map((at, row) => [at + later, row]));
    return Object.fromEntries(COLUMNS.map((column) =>
      [column, t.map((at) => (rows.has(at) ? one.columns[column][rows.get(at)] : null))]));
  };
  const later = before ? first(answer) - first(before) : 0;
  return {
    t,
    of: series.map((one, at) => ({
      name: name(one), ...columnsOf(one, 0), before: before ? columnsOf(before.series[at], later) : null,
    })),
  };
}

// Only values above 0 have a place on a logarithmic axis.
export const positive = (column) => column.map((value) => (value > 0 ? value : null));

// The period before that of /api/range: relative times stay relative, so that its answer can be kept.
export function previous({ from, to }, { from_s, to_s }) {
  const ago = /^-(\d+)([mhdw])$/.exec(from);
  if (ago && to === "now") return { from: `-${2 * Number(ago[1])}${ago[2]}`, to: from };
  return { from: String(2 * from_s - to_s), to: String(from_s) };
}

const UNITS = { ns: "ns", us: "µs", ms: "ms", s: "s", seconds: "s", bytes: "bytes", kib: "KiB", mib: "MiB", gib: "GiB",
  pct: "%", percent: "%", rps: "/s", qps: "/s", per_s: "/s" };

// The unit that the end of a metric's name says, as in latency_ms; "" without one.
export function unitOf(metric) {
  const end = Object.keys(UNITS).find((one) => metric.toLowerCase().endsWith(`_${one}`));
  return end ? UNITS[end] : "";
}

// Of several metrics only a unit that all of them have.
export function sharedUnit(metrics) {
  const units = new Set(metrics.map(unitOf));
  return units.size === 1 ? [...units][0] : "";
}
