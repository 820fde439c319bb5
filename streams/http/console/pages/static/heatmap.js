// How the values of each window are spread: a column a window, a row a bucket, darker for more.

import { span, time, timeAxis, token, valueAxis } from "./chart.js";
import { count, measure, minute } from "./format.js";

// `heat` is {edges, t, counts} of the query API, `grid` every window of the range, `step_s` their width. `most` is
// the count of the darkest colour, the same for all heatmaps of a page.
export function heatmap(heat, grid, step_s, cursor, { readout, most, zoom }) {
  const { edges, t, counts } = heat;
  const scale = `darkest: ${count(most)} events`;
  readout.textContent = scale;
  const rgb = token("heat");

  function paint(plot) {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    t.forEach((start, column) => {
      const x0 = plot.valToPos(start, "x", true);
      const x1 = Math.max(x0 + 1, plot.valToPos(start + step_s, "x", true));
      counts[column].forEach((number, row) => {
        if (!number) return;
        const y1 = plot.valToPos(edges[row], "y", true);
        const y0 = plot.valToPos(edges[row + 1], "y", true);
        // The square root keeps rare values visible beside common ones.
        ctx.fillStyle = `rgba(${rgb}, ${0.12 + 0.88 * Math.sqrt(number / most)})`;
        ctx.fillRect(x0, y0, x1 - x0, Math.max(1, y1 - y0));
      });
    });
    ctx.restore();
  }

  function tell(plot) {
    const { left, top } = plot.cursor;
    if (left < 0 || top < 0) { readout.textContent = scale; return; }
    const at = plot.posToVal(left, "x");
    const value = plot.posToVal(top, "y");
    const column = t.findLastIndex((start) => start <= at && at < start + step_s);
    const row = edges.findLastIndex((edge) => edge <= value);
    const number = counts[column]?.[row];
    readout.textContent = number === undefined ? scale
      : `${minute(t[column])}  ${measure(edges[row])} to ${measure(edges[row + 1])}: ${count(number)}`;
  }

  return {
    options: {
      legend: { show: false },
      cursor: { ...cursor, points: { show: false } },
      scales: {
        x: span(grid, step_s),
        y: { range: () => [edges[0], edges[edges.length - 1]] },
      },
      axes: [timeAxis(), valueAxis({ grid: { show: false } })],
      series: [time(), { paths: () => null, points: { show: false } }],
      hooks: { draw: [paint], setCursor: [tell], setSelect: [zoom] },
    },
    data: [grid, grid.map(() => edges[0])],
    label: `Heatmap of ${t.length} windows and ${edges.length - 1} buckets from ${measure(edges[0])} to ${
      measure(edges[edges.length - 1])}`,
  };
}
