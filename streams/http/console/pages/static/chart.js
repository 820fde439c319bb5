// uPlot in the console's colours. A chart is an image to a screen reader: it has a label, and the page
// shows the same numbers as a table.
/* global uPlot */

import { h } from "./dom.js";
import { ZONE, isLocal, measure, minute } from "./format.js";

const inZone = (date) => (isLocal ? date : uPlot.tzDate(date, "Etc/UTC"));
const HEIGHT_PX = 230;
const dark = matchMedia("(prefers-color-scheme: dark)");
const shown = new Set();

export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
export const faded = (colour, share) => `color-mix(in srgb, ${colour} ${share}%, transparent)`;
export const seriesColour = (index) => token(`series-${(index % 8) + 1}`);

const axisFont = "11px Inter, system-ui, sans-serif";

export function axis(options = {}) {
  return {
    stroke: token("muted"),
    font: axisFont,
    grid: { stroke: token("line"), width: 1 },
    ticks: { show: false },
    ...options,
  };
}

// Wide enough for the longest of the values.
export const valueAxis = (options = {}) => axis({
  size: (self, values) => 16 + 7 * Math.max(3, ...(values ?? []).map((value) => value.length)),
  // A logarithmic axis has no label at most of its lines.
  values: (self, splits) => splits.map((value) => (value === null ? "" : measure(value))),
  ...options,
});

// `build()` gives {options, data, label}; it runs again when the theme changes. Redraws follow the width.
export class Chart {
  constructor(element) {
    this.element = element;
    this.plot = null;
    this.watched = new ResizeObserver(() => this.resize());
    this.watched.observe(element);
    shown.add(this);
  }

  // `empty` is said where there is nothing to draw: `build()` gives null.
  show(build, empty) {
    this.build = build;
    this.empty = empty;
    this.draw();
  }

  draw() {
    this.plot?.destroy();
    this.plot = null;
    const built = this.build();
    if (!built) { this.tell(this.empty); return; }
    const { options, data, label } = built;
    const holder = h("div", { class: "chart", role: "img", "aria-label": label });
    this.element.replaceChildren(holder);
    this.element.removeAttribute("aria-busy");
    this.plot = new uPlot({
      width: this.width,
      height: HEIGHT_PX,
      tzDate: (s) => inZone(new Date(s * 1000)),
      axes: [timeAxis(), valueAxis()],
      ...options,
    }, data, holder);
    this.plot.over.addEventListener("mouseleave", () => this.tellNewest());
    requestAnimationFrame(() => this.tellNewest());
  }

  // While the pointer is on no window, the legend shows the newest one that has values.
  tellNewest() {
    if (!this.plot) return;
    const [t, ...values] = this.plot.data;
    const idx = t.findLastIndex((_, at) => values.some((column) => column[at] !== null));
    if (idx >= 0) this.plot.setLegend({ idx });
  }

  get width() {
    return Math.max(240, Math.floor(this.element.clientWidth));
  }

  resize() {
    if (this.plot && Math.abs(this.plot.width - this.width) > 1) {
      this.plot.setSize({ width: this.width, height: HEIGHT_PX });
    }
  }

  close() {
    this.watched.disconnect();
    this.plot?.destroy();
    shown.delete(this);
  }

  clear(text) {
    this.plot?.destroy();
    this.plot = null;
    this.build = null;
    this.tell(text);
  }

  tell(text) {
    this.element.replaceChildren(h("p", { class: "state" }, text));
    this.element.removeAttribute("aria-busy");
  }
}

dark.addEventListener("change", () => shown.forEach((chart) => chart.build && chart.draw()));

// A value between two gaps has no line to be seen by: it is a dot.
function isolated(plot, series) {
  const values = plot.data[series];
  const missing = (at) => values[at] === null || values[at] === undefined;
  return [...values.keys()].filter((at) => !missing(at) && missing(at - 1) && missing(at + 1));
}

export const line = (label, colour, more = {}) => ({
  label, stroke: colour, width: 1.5, points: { show: true, size: 5, filter: isolated },
  value: (self, value) => measure(value), ...more,
});

export const bars = (label, colour) => ({
  ...line(label, colour),
  fill: colour,
  width: 0,
  points: { show: false },
  paths: uPlot.paths.bars({ size: [0.8, 40], align: 1 }),
});

// A dashed line at the time of each change; a bad one in the colour of errors. The table beside the chart names them.
export const marks = (changes) => ({
  hooks: {
    draw: (self) => {
      const { ctx, bbox } = self;
      ctx.save();
      ctx.setLineDash([3, 4]);
      for (const { at_ms: at, bad } of changes) {
        const x = Math.round(self.valToPos(at / 1000, "x", true));
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.strokeStyle = token(bad ? "bad" : "muted");
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      ctx.restore();
    },
  },
});

// The axis ends where the last window ends, zoomed or not.
export const span = (t, step_s) => ({
  range: (self, low, high) => [low, high === t[t.length - 1] ? high + step_s : high],
});
// Values on it are above 0.
export const logarithmic = { distr: 3 };
export const fromNothing = { range: (self, low, high) => [0, 1.05 * high || 1] };

// A time axis of 24 hours, in the order people write dates.
const timeValue = (self, s) => (s === null ? "" : minute(s));
export const time = () => ({ label: ZONE, value: timeValue });

const STEPS_S = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600,
  2592000, 5184000, 7776000, 15552000, 31536000];
export function timeAxis() {
  return axis({
    incrs: STEPS_S,
    values: (self, splits, index, space, step) => splits.map((s, at) => {
      const shown = minute(s);
      const day = shown.slice(5, 10);
      if (step >= 86400) return day;
      const hour = shown.slice(11);
      return hour === "00:00" || at === 0 ? `${hour}\n${day}` : hour;
    }),
  });
}
