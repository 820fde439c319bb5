// What came of a simulation, as charts and tables: a histogram from its quantiles, their fan, the mean and every
// estimate with its interval of 95 %. Summaries of other forms have no chart.

import { h, svg, table } from "./dom.js";
import { measure } from "./format.js";

const WIDTH = 600;
const HEIGHT = 90;
const FAN = 26;

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const hasShape = ({ quantiles, min, max, mean }) => Array.isArray(quantiles) && quantiles.length > 0
  && quantiles.every((one) => isNumber(one.value) && isNumber(one.level)) && [min, max, mean].every(isNumber);

// Between two neighbouring quantiles lies a known share of the trials: bars of that share and of unequal width.
function shares({ quantiles, min, max }) {
  const edges = [{ level: 0, value: min }, ...quantiles, { level: 1, value: max }];
  return edges.slice(1).map((one, at) => ({ from: edges[at].value, to: one.value, share: one.level - edges[at].level }))
    .filter(({ from, to }) => to > from);
}

function drawing(summary) {
  const { quantiles, min, max, mean, mean_low: low, mean_high: high } = summary;
  const x = (value) => (WIDTH * (value - min)) / (max - min);
  const parts = shares(summary);
  const density = ({ from, to, share }) => share / (to - from);
  const most = Math.max(...parts.map(density));
  const rect = (kind, from, to, top, height) => svg("rect", { class: kind, x: x(from).toFixed(1), y: top.toFixed(1),
    width: Math.max(1, x(to) - x(from) - (kind === "bin" ? 1 : 0)).toFixed(1), height: height.toFixed(1) });
  const bins = parts.map((one) => {
    const height = Math.max(1, (HEIGHT * density(one)) / most);
    return rect("bin", one.from, one.to, HEIGHT - height, height);
  });
  const top = HEIGHT + 6;
  const fan = [rect("fan", min, max, top + FAN / 2 - 1, 2)];
  for (let at = 0; at < Math.floor(quantiles.length / 2); at += 1) {
    fan.push(rect("fan", quantiles[at].value, quantiles[quantiles.length - 1 - at].value, top, FAN));
  }
  const marks = [
    ...(isNumber(low) && isNumber(high) ? [rect("interval", low, high, top, FAN)] : []),
    svg("line", { class: "mean", x1: x(mean).toFixed(1), x2: x(mean).toFixed(1), y1: 0, y2: top + FAN }),
  ];
  const said = `Histogram from ${measure(min)} to ${measure(max)}, mean ${measure(mean)}; the same figures are in the table`;
  return svg("svg", { class: "outcome", viewBox: `0 0 ${WIDTH} ${top + FAN}`, preserveAspectRatio: "none", role: "img", "aria-label": said },
    ...bins, ...fan, ...marks);
}

const percent = (share) => `${measure(100 * share)} %`;
const interval = (one, shown = measure) => (isNumber(one.low) && isNumber(one.high) ? `${shown(one.low)} to ${shown(one.high)}` : "–");

const estimates = (summary) => table("Estimates with their intervals of 95 %", [
  { name: "Estimate", head: true, cell: (one) => one.name },
  { name: "Value", number: true, cell: (one) => one.value },
  { name: "95 % interval", number: true, cell: (one) => one.interval },
], [
  { name: "mean", value: measure(summary.mean), interval: interval({ low: summary.mean_low, high: summary.mean_high }) },
  ...summary.quantiles.map((one) => ({ name: `${percent(one.level)} are at or below`, value: measure(one.value), interval: interval(one) })),
  ...(summary.exceedance ?? []).map((one) => ({ name: `above ${measure(one.bound)}`, value: percent(one.probability), interval: interval(one, percent) })),
]);

// null for a summary of another form.
export function outcome(summary) {
  if (!hasShape(summary)) return null;
  const flat = summary.max === summary.min;
  return h("div", { class: "columns halves" },
    h("div", {}, flat ? h("p", { class: "state" }, `Every trial gave ${measure(summary.mean)}.`) : [drawing(summary),
      h("p", { class: "readout" }, h("span", {}, measure(summary.min)), h("span", {}, `mean ${measure(summary.mean)}`), h("span", {}, measure(summary.max))),
      h("p", { class: "hint" }, "Bars: share of the trials between two quantiles. Below: the quantiles in pairs, darkest in the middle; the mean with its interval.")]),
    h("div", {}, estimates(summary)));
}
