import { Chart, bars, faded, fromNothing, line, logarithmic, seriesColour, span, time } from "../chart.js";
import { $, figures, h, table } from "../dom.js";
import { aligned, count, measure, minute, plural, rough } from "../format.js";
import { fresh, keep, onAgain, onOverview, start, state } from "../frame.js";
import { get, query } from "../api.js";
import { heatmap } from "../heatmap.js";
import { Panel } from "../panel.js";
import { Picker } from "../picker.js";
import { commandOf, curlOf, sqlOf } from "../queries.js";
import { copying } from "../record.js";
import { remember, tenants, tenantsKnown } from "../tenant.js";
import { COLUMNS, gridded, named, positive, previous, sharedUnit, unitOf } from "../windows.js";

const SERIES_MAX = 8;
const BUCKETS = 32;
const ROWS_SHOWN = 240;
const RANGES = ["1h", "6h", "24h", "7d", "30d", "365d"];
const QUANTILE = /^p\d+$/;
// Controls that the address holds, with the value that it leaves out.
const CHOICES = { table: "", percentile: "p95", against: "", axis: "" };

const charts = Object.fromEntries(["mean", "percentiles", "count"].map((id) => [id, new Chart($(id))]));
const heat = new Panel($("heatmap"));
const numbers = new Panel($("numbers"));
$("numbers").classList.add("long");
const cursor = { sync: { key: "explore" }, drag: { x: true, y: false, setScale: false } };
let rangeChosen = state().has("range");

let shownTable = "m1";
const models = new Picker($("models"), "models", () => chosenAnew(models));
const metrics = new Picker($("metrics"), "metrics", () => chosenAnew(metrics));

// Models times metrics is bounded: each list has the room that the other one leaves.
function shareRoom() {
  metrics.bound(Math.floor(SERIES_MAX / Math.max(1, models.chosen.length)));
  models.bound(Math.floor(SERIES_MAX / Math.max(1, metrics.chosen.length)));
}

async function chosenAnew() {
  shareRoom();
  await read();
}

// What the address says, as `/api/range` takes it.
function asked() {
  const range = $("range").value;
  const between = range === "custom" ? { from: $("from").value, to: $("to").value } : { from: `-${range}`, to: "now" };
  return { tenant: $("tenant").value, model: models.chosen, metric: metrics.chosen, ...between, table: $("table").value };
}

function remembered() {
  const { tenant, model, metric, from, to } = asked();
  const custom = $("range").value === "custom";
  const choices = Object.entries(CHOICES).map(([id, usual]) => [id, $(id).value === usual ? "" : $(id).value]);
  keep({
    tenant, metric, model, range: $("range").value, ...(custom ? { from, to } : {}), ...Object.fromEntries(choices),
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

const logScale = () => $("axis").value === "log";
const onAxis = (columns) => (logScale() ? columns.map(positive) : columns);
const axisOf = () => (logScale() ? { scales: { y: logarithmic } } : {});

// The same series in the period before, as dashed lines in the colour of each.
const earlier = (all, name) => all.flatMap((one, at) => (one.before
  ? [{ column: one.before[name], series: line(`${one.name}, before`, seriesColour(at), { dash: [4, 4] }) }] : []));

function meanOfOne(t, all) {
  const [{ mean, sd, min, max }] = all;
  const before = earlier(all, "mean");
  const columns = [max, min, zip(mean, sd, (m, s) => m + s), zip(mean, sd, (m, s) => m - s), mean, ...before.map((one) => one.column)];
  return {
    data: [t, ...onAxis(columns)],
    options: {
      ...axisOf(),
      series: [
        time(), edge("max"), edge("min"), edge("sd", { value: (self, value, series, at) => measure(sd[at]) }),
        edge("", { class: "unlisted" }), line("mean", seriesColour(0)), ...before.map((one) => one.series),
      ],
      bands: [{ series: [1, 2], fill: faded(seriesColour(0), 12) }, { series: [3, 4], fill: faded(seriesColour(0), 26) }],
    },
  };
}

function compared(t, all, name) {
  const before = earlier(all, name);
  return {
    data: [t, ...onAxis([...all.map((one) => one[name]), ...before.map((one) => one.column)])],
    options: {
      ...axisOf(),
      // A click on a name shows that series alone, and all again; with Ctrl it hides that one.
      legend: { isolate: true },
      series: [time(), ...all.map((one, at) => line(one.name, seriesColour(at))), ...before.map((one) => one.series)],
    },
  };
}

const percentilesOfOne = (t, [one]) => ({
  data: [t, ...onAxis([one.p50, one.p95, one.p99])],
  options: {
    ...axisOf(),
    legend: { isolate: true },
    series: [time(), ...["p50", "p95", "p99"].map((name, at) =>
      line(name, seriesColour(at), { value: (self, value) => rough(value) }))],
  },
});

function counts(t, all) {
  if (all.length > 1 || logScale()) return compared(t, all, "count");
  const before = earlier(all, "count");
  return {
    data: [t, all[0].count, ...before.map((one) => one.column)],
    options: {
      series: [time(), bars("events", seriesColour(0)), ...before.map((one) => one.series)],
      scales: { y: fromNothing },
    },
  };
}

function entitle(single, unit) {
  const also = [unit, logScale() ? "logarithmic, values of 0 and less left out" : ""].filter(Boolean).join(", ");
  const suffix = also ? ` (${also})` : "";
  $("mean-title").textContent = `${single ? "Mean ± standard deviation, between minimum and maximum" : "Mean by series"}${suffix}`;
  const percentile = $("percentile").value;
  $("percentiles-title").textContent = `${single ? "Percentiles" : `${percentile} by series`}, within 1 %${suffix}`;
}

function drawCharts(answer, before) {
  shownTable = answer.table;
  const { t, of: all } = gridded(answer, before);
  const single = all.length === 1;
  const about = `${answer.metrics.join(", ")} of ${[...new Set(answer.series.map((one) => one.model))].join(", ")}, ${plural(t.length, "window")}`;
  const draw = (id, what, build) => charts[id].show(() => {
    const { data, options } = build();
    if (logScale() && data.slice(1).every((column) => column.every((value) => value === null))) return null;
    const scales = { x: span(t, answer.step_s), ...options.scales };
    return { data, options: { cursor, hooks: { setSelect: [zoom] }, ...options, scales }, label: `${what}: ${about}` };
  }, "No value above 0, as a logarithmic axis needs.");
  entitle(single, sharedUnit(answer.metrics));
  draw("mean", "Mean", () => (single ? meanOfOne(t, all) : compared(t, all, "mean")));
  draw("percentiles", "Percentiles", () => (single ? percentilesOfOne(t, all) : compared(t, all, $("percentile").value)));
  draw("count", "Events per window", () => counts(t, all));
}

let heatmaps = [];
function drawHeatmaps(answer) {
  const { series, step_s } = answer;
  const { t } = gridded(answer, null);
  const name = named(series);
  const most = Math.max(1, ...series.flatMap((one) => one.heatmap?.counts.flat() ?? []));
  heatmaps.forEach((chart) => chart.close());
  heatmaps = [];
  const parts = series.filter((one) => one.heatmap?.t.length).map((one) => {
    const place = h("div");
    const readout = h("p", { class: "readout" });
    const chart = new Chart(place);
    chart.show(() => heatmap(one.heatmap, t, step_s, cursor, { readout, most, zoom }));
    heatmaps.push(chart);
    return [series.length > 1 ? h("h3", {}, name(one)) : null, place, readout];
  });
  heat.put(parts.length ? h("div", {}, parts) : null, "No value in this range.");
}

function total({ columns }) {
  const events = columns.count.reduce((sum, n) => sum + n, 0);
  const sum = columns.count.reduce((found, n, at) => found + n * columns.mean[at], 0);
  return { events, mean: sum / events, min: Math.min(...columns.min), max: Math.max(...columns.max) };
}

function drawTotals({ series, table: windows, step_s }, before) {
  const width = step_s < 3600 ? plural(step_s / 60, "minute") : step_s < 86400 ? plural(step_s / 3600, "hour")
    : plural(step_s / 86400, "day");
  const name = named(series);
  figures($("totals"), [
    ...series.map((one, at) => {
      if (!one.columns.t.length) return { name: name(one), value: "0", unit: "events" };
      const { events, mean, min, max } = total(one);
      const unit = unitOf(one.metric);
      const was = before?.series[at].columns.t.length ? total(before.series[at]) : null;
      return { name: name(one), value: count(events), unit: events === 1 ? "event" : "events",
        aside: `mean ${measure(mean)}${unit && ` ${unit}`}, from ${measure(min)} to ${measure(max)}${
          was ? `; before: mean ${measure(was.mean)} of ${count(was.events)}` : ""}` };
    }),
    { name: "Windows", value: width, aside: `from table ${windows}` },
  ]);
}

function drawNumbers({ series, metrics: shownMetrics }) {
  const name = named(series);
  const rows = series.flatMap((one) => one.columns.t.map((t, at) => ({
    name: name(one), t, ...Object.fromEntries(COLUMNS.map((column) => [column, one.columns[column][at]])),
  }))).sort((a, b) => b.t - a.t || a.name.localeCompare(b.name));
  const shown = rows.slice(0, ROWS_SHOWN);
  const shownAs = (column) => (column === "count" ? count : QUANTILE.test(column) ? rough : aligned);
  const exact = (column) => (row) => h("data", { value: row[column] }, shownAs(column)(row[column]));
  const found = table(`${shownMetrics.join(", ")} by window, newest first`, [
    { name: "Window (UTC)", head: true, cell: (row) => minute(row.t) },
    ...(series.length > 1 ? [{ name: "Series", cell: (row) => row.name }] : []),
    ...COLUMNS.map((column) => ({
      name: column, number: true, cell: exact(column), title: QUANTILE.test(column) ? "within 1 %" : null,
    })),
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
  if (!asked().model.length || !asked().metric.length) {
    const { tenant, metric } = asked();
    nothing(metric.length ? "Choose a model above." : tenant ? `No event of tenant ${tenant} has arrived yet.` : "No event has arrived yet.");
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
    const before = $("against").value === "previous"
      ? await get("/api/range", { ...asked(), ...previous(asked(), answer), table: answer.table }, mine.signal) : null;
    draw(answer, before);
  } catch (error) {
    if (mine.signal.aborted) return;
    nothing("Not read.");
    numbers.fail(error, read);
  } finally {
    if (reading === mine) $("charts").removeAttribute("aria-busy");
  }
}

function draw(answer, before) {
  drawTotals(answer, before);
  drawNumbers(answer);
  if (answer.series.every((one) => !one.columns.t.length)) {
    Object.values(charts).forEach((chart) => chart.clear("No event in this range."));
  } else drawCharts(answer, before);
  drawHeatmaps(answer);
}

// What there is to choose of the tenant; what was chosen stays chosen where it exists.
async function offer(wantedModels, wantedMetrics, kept = false) {
  const tenant = $("tenant").value;
  const [known, measured] = tenant
    ? await Promise.all([get("/api/models", { tenant }), get("/api/metrics", { tenant })]) : [{ models: [] }, { metrics: [] }];
  for (const picker of [models, metrics]) picker.bound(SERIES_MAX);
  models.fill(known.models, tenant ? wantedModels : [], kept);
  metrics.fill(measured.metrics, tenant ? wantedMetrics : [], kept);
  shareRoom();
}

function showCustom() {
  document.querySelectorAll(".custom").forEach((field) => { field.hidden = $("range").value !== "custom"; });
}

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", async (event) => {
  const { id } = event.target;
  if (id === "tenant") {
    remember($("tenant").value);
    await offer(models.chosen, metrics.chosen);
  }
  if (id === "range") rangeChosen = true;
  if (id === "range" && $("range").value === "custom" && !$("from").value) {
    const now = Date.now();
    $("to").value = new Date(now).toISOString().slice(0, 16);
    $("from").value = new Date(now - 3600_000).toISOString().slice(0, 16);
  }
  showCustom();
  if (event.target.closest("details.picker")) return;
  await read();
});
$("wider").addEventListener("click", wider);
document.addEventListener("click", (event) => {
  for (const id of ["models", "metrics", "copy"]) if (!event.target.closest(`#${id}`)) $(id).open = false;
});

async function begin() {
  const wanted = state();
  for (const id of ["range", "from", "to", ...Object.keys(CHOICES)]) {
    if (wanted.has(id)) $(id).value = wanted.get(id);
  }
  showCustom();
  try {
    await tenants();
    await offer(wanted.getAll("model"), wanted.getAll("metric"), true);
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
