import { Chart, bars, faded, fromNothing, line, seriesColour, span, time } from "../chart.js";
import { $, figures, fill, h, table } from "../dom.js";
import { aligned, count, measure, minute, plural, rough, visible } from "../format.js";
import { fresh, keep, onAgain, onOverview, start, state } from "../frame.js";
import { get, query } from "../api.js";
import { heatmap } from "../heatmap.js";
import { Panel } from "../panel.js";
import { commandOf, curlOf, sqlOf } from "../queries.js";
import { copying } from "../record.js";
import { remember, tenants, tenantsKnown } from "../tenant.js";

const MODELS_MAX = 8;
const BUCKETS = 32;
const ROWS_SHOWN = 240;
const RANGES = ["1h", "6h", "24h", "7d", "30d", "365d"];
const QUANTILE = /^p\d+$/;
const COLUMNS = ["count", "mean", "sd", "min", "max", "last", "p50", "p95", "p99"];

const charts = Object.fromEntries(["mean", "percentiles", "count"].map((id) => [id, new Chart($(id))]));
const heat = new Panel($("heatmap"));
const numbers = new Panel($("numbers"));
$("numbers").classList.add("long");
const cursor = { sync: { key: "explore" }, drag: { x: true, y: false, setScale: false } };
let rangeChosen = state().has("range");

let shownTable = "m1";
const chosenModels = () => [...document.querySelectorAll("#models input:checked")].map((box) => box.value);

// What the address says, as `/api/range` takes it.
function asked() {
  const range = $("range").value;
  const span = range === "custom" ? { from: $("from").value, to: $("to").value } : { from: `-${range}`, to: "now" };
  return { tenant: $("tenant").value, model: chosenModels(), metric: $("metric").value, ...span, table: $("table").value };
}

function remembered() {
  const { tenant, model, metric, from, to, table: windows } = asked();
  const custom = $("range").value === "custom";
  keep({
    tenant, metric, model, range: $("range").value, ...(custom ? { from, to } : {}),
    table: windows, percentile: $("percentile").value === "p95" ? "" : $("percentile").value,
  });
  $("csv").href = `/api/range?${query({ ...asked(), format: "csv" })}`;
}

// Where a browser has no clipboard, there is nothing to offer.
function offerCopies() {
  const buttons = [
    copying("SQL", () => sqlOf(asked(), shownTable)),
    copying("curl", () => curlOf(asked())),
    copying("dia query", () => commandOf(asked())),
  ].filter(Boolean);
  $("copy").hidden = !buttons.length;
  $("copy").querySelector("fieldset").append(...buttons);
}

// Every series on one grid of windows: a window without events is a gap, never a line across.
function gridded({ from_s, to_s, step_s, series }) {
  const first = Math.floor(from_s / step_s) * step_s;
  const starts = [];
  for (let t = first; t < to_s; t += step_s) starts.push(t);
  return {
    t: starts,
    of: series.map(({ model, columns }) => {
      const at = new Map(columns.t.map((t, row) => [t, row]));
      const column = (name) => starts.map((t) => (at.has(t) ? columns[name][at.get(t)] : null));
      return { model, ...Object.fromEntries(COLUMNS.map((name) => [name, column(name)])) };
    }),
  };
}

const SELECTED_PX_MIN = 4;

// A selection in one chart becomes the range of the page, whole minutes, so it is in the address.
function zoom(plot) {
  const { left, width } = plot.select;
  if (width < SELECTED_PX_MIN) return;
  const first = Math.floor(plot.posToVal(left, "x") / 60) * 60;
  const last = Math.max(first + 60, Math.ceil(plot.posToVal(left + width, "x") / 60) * 60);
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  between(first, last);
}

function between(first_s, last_s) {
  const text = (s) => new Date(s * 1000).toISOString().slice(0, 16);
  if ($("range").value === "custom" && $("from").value === text(first_s) && $("to").value === text(last_s)) return;
  $("range").value = "custom";
  $("from").value = text(first_s);
  $("to").value = text(last_s);
  rangeChosen = true;
  showCustom();
  read();
}

// Twice as long, around the same middle, and not beyond now.
function wider() {
  const [first, last] = ["from", "to"].map((id) => Date.parse(`${$(id).value}Z`) / 1000);
  const more = Math.max(60, Math.round((last - first) / 120) * 60);
  between(first - more, Math.min(last + more, Math.ceil(Date.now() / 60_000) * 60));
}

const zip = (a, b, join) => a.map((value, at) => (value === null ? null : join(value, b[at])));
const edge = (label, value) => ({ ...line(label, "transparent"), width: 0, points: { show: false }, ...value });

function meanOfOne(t, { mean, sd, min, max }) {
  const colour = seriesColour(0);
  return {
    data: [t, max, min, zip(mean, sd, (m, s) => m + s), zip(mean, sd, (m, s) => m - s), mean],
    options: {
      series: [
        time(), edge("max"), edge("min"), edge("sd", { value: (self, value, series, at) => measure(sd[at]) }),
        edge("", { class: "unlisted" }), line("mean", colour),
      ],
      bands: [{ series: [1, 2], fill: faded(colour, 12) }, { series: [3, 4], fill: faded(colour, 26) }],
    },
  };
}

const compared = (t, all, name) => ({
  data: [t, ...all.map((one) => one[name])],
  options: { series: [time(), ...all.map((one, at) => line(visible(one.model), seriesColour(at)))] },
});

const percentilesOfOne = (t, one) => ({
  data: [t, one.p50, one.p95, one.p99],
  options: {
    series: [time(), ...["p50", "p95", "p99"].map((name, at) =>
      line(name, seriesColour(at), { value: (self, value) => rough(value) }))],
  },
});

function counts(t, all) {
  if (all.length > 1) return compared(t, all, "count");
  return {
    data: [t, all[0].count],
    options: {
      series: [time(), bars("events", seriesColour(0))],
      scales: { y: fromNothing },
    },
  };
}

function drawCharts(answer) {
  shownTable = answer.table;
  const { t, of: all } = gridded(answer);
  const single = all.length === 1;
  const percentile = $("percentile").value;
  const about = `${answer.metric} of ${all.map((one) => one.model).join(", ")}, ${plural(t.length, "window")}`;
  const draw = (id, what, build) => charts[id].show(() => {
    const { data, options } = build();
    const scales = { x: span(t, answer.step_s), ...options.scales };
    return { data, options: { cursor, hooks: { setSelect: [zoom] }, ...options, scales }, label: `${what}: ${about}` };
  });
  $("mean-title").textContent = single ? "Mean ± standard deviation, between minimum and maximum" : "Mean by model";
  $("percentiles-title").textContent = single ? "Percentiles (within 1 %)" : `${percentile} by model (within 1 %)`;
  draw("mean", "Mean", () => (single ? meanOfOne(t, all[0]) : compared(t, all, "mean")));
  draw("percentiles", "Percentiles", () => (single ? percentilesOfOne(t, all[0]) : compared(t, all, percentile)));
  draw("count", "Events per window", () => counts(t, all));
}

let heatmaps = [];
function drawHeatmaps(answer) {
  const { series, step_s } = answer;
  const { t } = gridded(answer);
  const most = Math.max(1, ...series.flatMap((one) => one.heatmap?.counts.flat() ?? []));
  heatmaps.forEach((chart) => chart.close());
  heatmaps = [];
  const parts = series.filter((one) => one.heatmap?.t.length).map((one) => {
    const place = h("div");
    const readout = h("p", { class: "readout" });
    const chart = new Chart(place);
    chart.show(() => heatmap(one.heatmap, t, step_s, cursor, { readout, most, zoom }));
    heatmaps.push(chart);
    return [series.length > 1 ? h("h3", {}, one.model) : null, place, readout];
  });
  heat.put(parts.length ? h("div", {}, parts) : null, "No value in this range.");
}

function total({ columns }) {
  const events = columns.count.reduce((sum, n) => sum + n, 0);
  const sum = columns.count.reduce((found, n, at) => found + n * columns.mean[at], 0);
  return { events, mean: sum / events, min: Math.min(...columns.min), max: Math.max(...columns.max) };
}

function drawTotals({ series, table: windows, step_s }) {
  const width = step_s < 3600 ? plural(step_s / 60, "minute") : step_s < 86400 ? plural(step_s / 3600, "hour")
    : plural(step_s / 86400, "day");
  figures($("totals"), [
    ...series.map((one) => {
      if (!one.columns.t.length) return { name: one.model, value: "0", unit: "events" };
      const { events, mean, min, max } = total(one);
      return { name: one.model, value: count(events), unit: events === 1 ? "event" : "events",
        aside: `mean ${measure(mean)}, from ${measure(min)} to ${measure(max)}` };
    }),
    { name: "Windows", value: width, aside: `from table ${windows}` },
  ]);
}

function drawNumbers({ series, metric }) {
  const rows = series.flatMap(({ model, columns }) => columns.t.map((t, at) => ({
    model, t, ...Object.fromEntries(COLUMNS.map((name) => [name, columns[name][at]])),
  }))).sort((a, b) => b.t - a.t || a.model.localeCompare(b.model));
  const shown = rows.slice(0, ROWS_SHOWN);
  const shownAs = (name) => (name === "count" ? count : QUANTILE.test(name) ? rough : aligned);
  const exact = (name) => (row) => h("data", { value: row[name] }, shownAs(name)(row[name]));
  const found = table(`${metric} by window, newest first`, [
    { name: "Window (UTC)", head: true, cell: (row) => minute(row.t) },
    ...(series.length > 1 ? [{ name: "Model", cell: (row) => row.model }] : []),
    ...COLUMNS.map((name) => ({ name, number: true, cell: exact(name), title: QUANTILE.test(name) ? "within 1 %" : null })),
  ], shown);
  const rest = rows.length - shown.length;
  numbers.put(rows.length ? h("div", {}, found, rest
    ? h("p", { class: "hint" }, `${plural(rest, "older window")} not shown; the CSV has all of them.`) : null) : null,
  "No event in this range.");
}

function nothing(text) {
  Object.values(charts).forEach((chart) => chart.clear(text));
  heat.put(null, text);
  numbers.put(null, text);
  figures($("totals"), []);
}

let reading = null;
async function read() {
  reading?.abort();
  const mine = (reading = new AbortController());
  remembered();
  if (!asked().model.length || !asked().metric) {
    const { tenant, metric } = asked();
    nothing(metric ? "Choose a model above." : tenant ? `No event of tenant ${tenant} has arrived yet.` : "No event has arrived yet.");
    return;
  }
  $("charts").setAttribute("aria-busy", "true");
  try {
    const answer = await get("/api/range", { ...asked(), buckets: BUCKETS }, mine.signal);
    fresh(answer);
    const wider = RANGES[RANGES.indexOf($("range").value) + 1];
    if (!rangeChosen && wider && answer.series.every((one) => !one.columns.t.length)) {
      $("range").value = wider;
      await read();
      return;
    }
    draw(answer);
  } catch (error) {
    if (mine.signal.aborted) return;
    nothing("Not read.");
    numbers.fail(error, read);
  } finally {
    if (reading === mine) $("charts").removeAttribute("aria-busy");
  }
}

function draw(answer) {
  drawTotals(answer);
  drawNumbers(answer);
  if (answer.series.every((one) => !one.columns.t.length)) {
    Object.values(charts).forEach((chart) => chart.clear("No event in this range."));
  } else drawCharts(answer);
  drawHeatmaps(answer);
}

// `kept`: what is wanted stays, also where the tenant has none of it: an address shows what it names, or nothing.
function fillModels(known, wanted, kept) {
  const models = kept ? [...new Set([...wanted, ...known])] : known;
  const chosen = wanted.filter((model) => models.includes(model)).slice(0, MODELS_MAX);
  if (!chosen.length && models.length) chosen.push(models[0]);
  $("models").replaceChildren($("models").firstElementChild, ...models.map((model) => h("label", {},
    h("input", { type: "checkbox", value: model, checked: chosen.includes(model), onchange: modelsChanged }), model)));
  nameModels();
}

function nameModels() {
  const chosen = chosenModels();
  $("model-names").textContent = chosen.length > 2 ? `${chosen.length} models` : visible(chosen.join(", ")) || "none";
  document.querySelectorAll("#models input").forEach((box) => {
    box.disabled = !box.checked && chosen.length >= MODELS_MAX;
  });
}

async function modelsChanged() {
  nameModels();
  await read();
}

// What there is to choose of the tenant; what was chosen stays chosen where it exists.
async function offer(models, metric, kept = false) {
  const tenant = $("tenant").value;
  if (!tenant) { fillModels([], [], false); fill($("metric"), [], ""); return; }
  const [known, metrics] = await Promise.all([get("/api/models", { tenant }), get("/api/metrics", { tenant })]);
  fillModels(known.models, models, kept);
  const extra = kept && metric && !metrics.metrics.includes(metric) ? [metric] : [];
  fill($("metric"), [...extra, ...metrics.metrics], metric);
}

function showCustom() {
  document.querySelectorAll(".custom").forEach((field) => { field.hidden = $("range").value !== "custom"; });
}

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", async (event) => {
  const { id } = event.target;
  if (id === "tenant") {
    remember($("tenant").value);
    await offer(chosenModels(), $("metric").value);
  }
  if (id === "range") rangeChosen = true;
  if (id === "range" && $("range").value === "custom" && !$("from").value) {
    const now = Date.now();
    $("to").value = new Date(now).toISOString().slice(0, 16);
    $("from").value = new Date(now - 3600_000).toISOString().slice(0, 16);
  }
  showCustom();
  if (event.target.closest("#models")) return;
  await read();
});
$("wider").addEventListener("click", wider);
document.addEventListener("click", (event) => {
  for (const id of ["picker", "copy"]) if (!event.target.closest(`#${id}`)) $(id).open = false;
});

async function begin() {
  const wanted = state();
  for (const id of ["range", "table", "percentile", "from", "to"]) {
    if (wanted.has(id)) $(id).value = wanted.get(id);
  }
  showCustom();
  try {
    await tenants();
    await offer(wanted.getAll("model"), wanted.get("metric"), true);
    await read();
  } catch (error) {
    nothing("Not read.");
    numbers.fail(error, begin);
  }
}

const again = () => (tenantsKnown() ? read() : begin());
onAgain(again);
offerCopies();
await begin();
onOverview(() => { if ($("range").value !== "custom") again(); });
start();
