// Windows of several series on one grid, beside those of the period before, and what can be drawn of them.

import { count, plural, rough } from "./format.js";

// What the series do not share tells them apart: a text for each by its values of `dimensions`.
export function named(series, dimensions) {
  const parts = dimensions.filter((name) => new Set(series.map((one) => one[name])).size > 1);
  const shown = parts.length ? parts : dimensions.slice(0, 1);
  return (one) => shown.map((name) => String(one[name])).join(" ") || "all";
}

const first = ({ from_s, step_s }) => Math.floor(from_s / step_s) * step_s;

// Starts of every window of the range; of sessions, which begin at any time, of those that there are.
function starts(answer) {
  const { to_s, step_s, series } = answer;
  const there = series.flatMap((one) => one.columns.t);
  const begin = first(answer);
  if (there.some((at) => (at - begin) % step_s)) return [...new Set(there)].sort((a, b) => a - b);
  const t = [];
  for (let at = begin; at < to_s; at += step_s) t.push(at);
  return t;
}

// Every series on one grid of windows: a window without events is a gap, never a line across. `before` is the answer
// for the period before, as long as this one; its windows are moved to the times of this one.
export function gridded(answer, before, dimensions) {
  const { series, figures } = answer;
  const t = starts(answer);
  const name = named(series, dimensions);
  const columnsOf = (one, later) => {
    const rows = new Map(one.columns.t.map((at, row) => [at + later, row]));
    return Object.fromEntries(figures.map((figure) =>
      [figure, t.map((at) => (rows.has(at) ? one.columns[figure][rows.get(at)] : null))]));
  };
  const later = before ? first(answer) - first(before) : 0;
  return {
    t,
    of: series.map((one, at) => ({
      name: name(one), figures: columnsOf(one, 0), before: before ? columnsOf(before.series[at], later) : null,
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

// Of several names only a unit that all of them have.
export function sharedUnit(names) {
  const units = new Set(names.map(unitOf));
  return units.size === 1 ? [...units][0] : "";
}

const typeOf = (view, figure) => view.figures.find((one) => one.name === figure).type;

export const isNumber = (view, figure) => /^(Nullable\()?(U?Int|Float)/.test(typeOf(view, figure));

// How numbers of a figure read: counts as whole numbers, percentiles to three digits, all others by `exact`.
export function readsAs(view, figure, exact) {
  if (typeOf(view, figure).includes("Int")) return count;
  return view.charts.some((one) => one.note && one.figures.includes(figure)) ? rough : exact;
}

const LENGTHS = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

// "10 seconds", "1 minute"
export function length(s) {
  const [unit, name] = LENGTHS.find(([one]) => s >= one && s % one === 0) ?? [1, "second"];
  return plural(s / unit, name);
}
