import { Chart, bars, faded, fromNothing, line, logarithmic, seriesColour, span, time } from "../chart.js";
import { $, figures, fill, h, table } from "../dom.js";
import { ZONE, aligned, count, measure, minute, moment, plural, rough } from "../format.js";
import { fresh, keep, onAgain, onOverview, start, state } from "../frame.js";
import { get, query } from "../api.js";
import { offerCopies } from "../copies.js";
import { heatmap } from "../heatmap.js";
import { Panel } from "../panel.js";
import { Picker } from "../picker.js";
import { rank } from "../ranking.js";
import { remember, tenants, tenantsKnown } from "../tenant.js";
import { gridded, isNumber, length, named, positive, previous, readsAs, sharedUnit, unitOf } from "../windows.js";

const SERIES_MAX = 8;
const FIGURES_MAX = 64;
const BUCKETS = 32;
const ROWS_SHOWN = 240;
const RANGES = ["1h", "6h", "24h", "7d", "30d", "365d"];
// Controls that the address holds, with the value that it leaves out.
const CHOICES = { table: "", percentile: "", against: "", axis: "", rank: "", order: "" };

const heat = new Panel($("heatmap"));
const numbers = new Panel($("numbers"));
$("numbers").classList.add("long");
const cursor = { sync: { key: "explore" }, drag: { x: true, y: false, setScale: false } };
let rangeChosen = state().has("range");

let views = [];
// The windows that are shown, as /api/windows describes them.
let view = null;
// A picker for each dimension, by its name.
let pickers = {};
const chosenFigures = Picker.field("figures", "Figures", "figures", () => read());
chosenFigures.bound(FIGURES_MAX);
// A chart for each of the view's charts, by its name.
let charts = {};
let shown = { table: "", figures: [] };

const names = () => view.dimensions.map((one) => one.name);

// Keys are bounded, all dimensions together: each list has the room that the others leave.
function shareRoom() {
  for (const [name, picker] of Object.entries(pickers)) {
    const others = Object.keys(pickers).filter((one) => one !== name)
      .reduce((product, one) => product * Math.max(1, pickers[one].chosen.length), 1);
    picker.bound(Math.floor(SERIES_MAX / others));
  }
}

async function chosenAnew() {
  shareRoom();
  await read();
}

const keys = () => Object.fromEntries(names().map((name) => [name, pickers[name].chosen]));
const isComplete = () => names().every((name) => pickers[name].chosen.length) && (!view.tenant || $("tenant").value);
const everyFigure = () => chosenFigures.chosen.length === view.figures.length;

// What the address says, as `/api/range` takes it.
function asked() {
  const range = $("range").value;
  const between = range === "custom" ? { from: $("from").value, to: $("to").value } : { from: `-${range}`, to: "now" };
  return {
    ...(view.name === views[0].name ? {} : { windows: view.name }),
    ...(view.tenant ? { tenant: $("tenant").value } : {}),
    ...keys(), ...between, table: $("table").value, figure: everyFigure() ? [] : chosenFigures.chosen,
  };
}

function remembered() {
  const { windows, tenant, from, to, figure } = asked();
  const custom = $("range").value === "custom";
  const choices = Object.entries(CHOICES).map(([id, usual]) => [id, $(id).value === usual ? "" : $(id).value]);
  keep({
    tenant, ...keys(), range: $("range").value, ...(custom ? { from, to } : {}), ...Object.fromEntries(choices),
    windows, figure,
  });
  $("csv").href = `/api/range?${query({ ...asked(), format: "csv" })}`;
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

// A mean with its deviation, between the least and the greatest value.
function band(t, [one], [mean, sd, min, max]) {
  const { figures: found } = one;
  const before = earlier([one], mean);
  const columns = [found[max], found[min], zip(found[mean], found[sd], (m, s) => m + s),
    zip(found[mean], found[sd], (m, s) => m - s), found[mean], ...before.map((each) => each.column)];
  return {
    data: [t, ...onAxis(columns)],
    options: {
      ...axisOf(),
      series: [
        time(), edge(max), edge(min), edge(sd, { value: (self, value, series, at) => measure(found[sd][at]) }),
        edge("", { class: "unlisted" }), line(mean, seriesColour(0)), ...before.map((each) => each.series),
      ],
      bands: [{ series: [1, 2], fill: faded(seriesColour(0), 12) }, { series: [3, 4], fill: faded(seriesColour(0), 26) }],
    },
  };
}

function compared(t, all, name) {
  const before = earlier(all, name);
  return {
    data: [t, ...onAxis([...all.map((one) => one.figures[name]), ...before.map((one) => one.column)])],
    options: {
      ...axisOf(),
      // A click on a name shows that series alone, and all again; with Ctrl it hides that one.
      legend: { isolate: true },
      series: [time(), ...all.map((one, at) => line(one.name, seriesColour(at))), ...before.map((one) => one.series)],
    },
  };
}

const figuresOfOne = (t, [one], drawn, note) => ({
  data: [t, ...onAxis(drawn.map((name) => one.figures[name]))],
  options: {
    ...axisOf(),
    legend: { isolate: true },
    series: [time(), ...drawn.map((name, at) =>
      line(name, seriesColour(at), note ? { value: (self, value) => rough(value) } : {}))],
  },
});

function counts(t, all, name) {
  if (all.length > 1 || logScale()) return compared(t, all, name);
  const before = earlier(all, name);
  return {
    data: [t, all[0].figures[name], ...before.map((one) => one.column)],
    options: {
      series: [time(), bars(unitOfCount(name), seriesColour(0)), ...before.map((one) => one.series)],
      scales: { y: fromNothing },
    },
  };
}

const unitOfCount = (name) => (name === "count" ? "events" : name);
const isBand = ({ form, figures: all }, drawn) => form === "band" && drawn.length === all.length;
// Of several series one figure of a chart is compared: the chosen one, where the chart has it.
const comparedBy = (chart, drawn) => {
  if (chart.form !== "lines") return drawn[0];
  return drawn.includes($("percentile").value) ? $("percentile").value : drawn[Math.floor(drawn.length / 2)];
};

function build(chart, drawn, t, all) {
  if (chart.form === "bars") return counts(t, all, drawn[0]);
  if (all.length > 1) return compared(t, all, comparedBy(chart, drawn));
  if (isBand(chart, drawn)) return band(t, all, drawn);
  return drawn.length > 1 ? figuresOfOne(t, all, drawn, chart.note) : compared(t, all, drawn[0]);
}

function entitle(chart, drawn, single, unit) {
  const also = [chart.form === "bars" ? "" : unit, logScale() ? "logarithmic, values of 0 and less left out" : ""].filter(Boolean).join(", ");
  const by = comparedBy(chart, drawn);
  const what = single && (chart.form !== "band" || isBand(chart, drawn)) ? chart.title
    : `${chart.form === "band" && by === "mean" ? "Mean" : by} by series`;
  $(`chart-${chart.name}-title`).textContent = `${what}${chart.note ? `, ${chart.note}` : ""}${also ? ` (${also})` : ""}`;
}

// The unit of a metric's name, where the key has a metric; else that of the figure.
const unitIn = (answer, drawn) => (names().includes("metric")
  ? sharedUnit(answer.series.map((one) => one.metric)) : sharedUnit(drawn));

function drawCharts(answer, before) {
  const { t, of: all } = gridded(answer, before, names());
  const single = all.length === 1;
  const about = `${answer.series.map(named(answer.series, names())).join(", ") || view.name}, ${plural(t.length, "window")}`;
  for (const chart of view.charts) {
    const drawn = chart.figures.filter((name) => answer.figures.includes(name));
    const panel = $(`chart-${chart.name}`).closest("section");
    panel.hidden = !drawn.length;
    if (!drawn.length) continue;
    entitle(chart, drawn, single, unitIn(answer, drawn));
    charts[chart.name].show(() => {
      const { data, options } = build(chart, drawn, t, all);
      if (logScale() && data.slice(1).every((column) => column.every((value) => value === null))) return null;
      const scales = { x: span(t, answer.step_s), ...options.scales };
      return { data, options: { cursor, hooks: { setSelect: [zoom] }, ...options, scales }, label: `${chart.title}: ${about}` };
    }, "No value above 0, as a logarithmic axis needs.");
  }
}

let heatmaps = [];
function drawHeatmaps(answer) {
  if (!view.heatmap) return;
  const { series, step_s } = answer;
  const { t } = gridded(answer, null, names());
  const name = named(series, names());
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

// The figure that counts events, and the mean with its range, where the windows have them.
const countOf = (answer) => view.charts.find((one) => one.form === "bars" && answer.figures.includes(one.figures[0]))?.figures[0];
const bandOf = (answer) => view.charts.find((one) => isBand(one, one.figures.filter((name) => answer.figures.includes(name))));
const sumOf = (column) => column.reduce((sum, value) => sum + (value ?? 0), 0);

function spread(columns, counted, { figures: [mean, , min, max] }) {
  const events = sumOf(columns[counted]);
  const sum = columns[counted].reduce((found, n, at) => found + n * columns[mean][at], 0);
  return { events, mean: sum / events, min: Math.min(...columns[min]), max: Math.max(...columns[max]) };
}

function asideOf(one, was, counted, banded) {
  if (!counted || !banded) return plural(one.columns.t.length, "window");
  const { mean, min, max } = spread(one.columns, counted, banded);
  const unit = unitOf(one.metric ?? "");
  const before = was?.columns.t.length ? spread(was.columns, counted, banded) : null;
  return `mean ${measure(mean)}${unit && ` ${unit}`}, from ${measure(min)} to ${measure(max)}${
    before ? `; before: mean ${measure(before.mean)} of ${count(before.events)}` : ""}`;
}

function drawTotals(answer, before) {
  const { series, step_s } = answer;
  const name = named(series, names());
  const counted = countOf(answer);
  const unit = counted === "count" || !counted ? "event" : counted;
  figures($("totals"), [
    ...series.map((one, at) => {
      const { t } = one.columns;
      if (!t.length) return { name: name(one), value: "0", unit: "events" };
      // Windows that overlap count an event more than once.
      const total = counted && view.disjoint ? sumOf(one.columns[counted]) : t.length;
      const of = counted && view.disjoint ? unit : "window";
      return { name: name(one), value: count(total), unit: of === counted || total === 1 ? of : `${of}s`,
        aside: asideOf(one, before?.series[at], counted, bandOf(answer)) };
    }),
    { name: "Windows", value: length(step_s), aside: `from table ${answer.table}` },
  ]);
}

const cellOf = (value, figure) => {
  if (value === null || value === undefined) return h("span", { class: "muted" }, "unknown");
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value !== "number") return String(value);
  return h("data", { value: String(value) }, readsAs(view, figure, aligned)(value));
};

function drawNumbers(answer) {
  const { series, figures: all } = answer;
  const name = named(series, names());
  const rows = series.flatMap((one) => one.columns.t.map((t, at) => ({
    name: name(one), t, closed: one.columns.closed?.[at],
    ...Object.fromEntries(all.map((figure) => [`of ${figure}`, one.columns[figure][at]])),
  }))).sort((a, b) => b.t - a.t || a.name.localeCompare(b.name));
  const shownRows = rows.slice(0, ROWS_SHOWN);
  const noteOf = (figure) => view.charts.find((one) => one.figures.includes(figure))?.note || null;
  const found = table(`${view.name} by window, newest first`, [
    { name: `Window (${ZONE})`, head: true, cell: (row) => (answer.step_s % 60 ? moment(row.t * 1000) : minute(row.t)) },
    ...(series.length > 1 ? [{ name: "Series", cell: (row) => row.name }] : []),
    ...all.map((figure) => ({
      name: figure, number: isNumber(view, figure), cell: (row) => cellOf(row[`of ${figure}`], figure), title: noteOf(figure),
    })),
    ...(rows.some((row) => row.closed !== undefined)
      ? [{ name: "State", cell: (row) => (row.closed ? "final" : "still open") }] : []),
  ], shownRows);
  const rest = rows.length - shownRows.length;
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
  rank(view, asked(), isComplete() ? $("rank").value : "", $("order").value);
  $("order-field").hidden = !$("rank").value;
  if (!isComplete()) {
    const missing = names().find((name) => !pickers[name].chosen.length);
    const { tenant } = asked();
    nothing(missing && pickers[missing].known.length ? `Choose a ${missing} above.`
      : tenant ? `No event of tenant ${tenant} has arrived yet.` : "No event has arrived yet.");
    return;
  }
  $("charts").setAttribute("aria-busy", "true");
  try {
    const answer = await get("/api/range", { ...asked(), buckets: view.heatmap ? BUCKETS : "" }, mine.signal);
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
  shown = { table: answer.table, figures: answer.figures };
  $("left-out").hidden = !answer.left_out.length;
  $("left-out").textContent = `Not shown: ${answer.left_out.join(", ")}. Such figures of several windows cannot be made from those of each; choose a shorter range or other windows.`;
  drawTotals(answer, before);
  drawNumbers(answer);
  if (answer.series.every((one) => !one.columns.t.length)) {
    Object.values(charts).forEach((chart) => chart.clear("No event in this range."));
  } else drawCharts(answer, before);
  drawHeatmaps(answer);
}

// What there is to choose of the tenant; what was chosen stays chosen where it exists.
async function offer(wanted, kept = false) {
  const tenant = view.tenant ? $("tenant").value : "";
  const isThere = !view.tenant || Boolean(tenant);
  const known = await Promise.all(names().map(async (of) => (isThere
    ? (await get("/api/names", { ...(view === views[0] ? {} : { windows: view.name }), tenant, of })).names.map(String) : [])));
  for (const picker of Object.values(pickers)) picker.bound(SERIES_MAX);
  names().forEach((name, at) => pickers[name].fill(known[at], isThere ? wanted[name] ?? [] : [], kept));
  shareRoom();
}

const widthName = ({ name, width_s }) => ({ m1: "minutes (m1)", h1: "hours (h1)", d1: "days (d1)" }[name] ?? `${length(width_s)} (${name})`);
const option = (value, text) => h("option", { value }, text);

// The controls and charts of the chosen windows.
function setUp(figure) {
  view = views.find((one) => one.name === $("windows").value) ?? views[0];
  $("tenant-field").hidden = !view.tenant;
  pickers = Object.fromEntries(names().map((name) =>
    [name, Picker.field(`by-${name}`, name[0].toUpperCase() + name.slice(1), `${name}s`, chosenAnew)]));
  $("dimensions").replaceChildren(...Object.values(pickers).map((one) => one.field), chosenFigures.field);
  const every = view.figures.map((one) => one.name);
  chosenFigures.fill(every, figure.length ? figure : every, false);
  const table = $("table").value;
  $("table").replaceChildren(option("", "by range"), ...view.tables.map((one) => option(one.name, widthName(one))));
  $("table").value = view.tables.some((one) => one.name === table) ? table : "";
  $("table-field").hidden = view.tables.length === 1;
  const compare = view.charts.filter((one) => one.form === "lines" && one.figures.length > 1).flatMap((one) => one.figures);
  const middle = option("", compare.length ? `${compare[Math.floor(compare.length / 2)]} (usual)` : "");
  $("percentile").replaceChildren(middle, ...compare.map((name) => option(name, name)));
  $("percentile-field").hidden = !compare.length;
  const { value: ranked } = $("rank");
  $("rank").replaceChildren(option("", "no ranking"), ...(view.ranked ? every : []).map((name) => option(name, name)));
  $("rank").value = view.ranked && every.includes(ranked) ? ranked : "";
  $("rank-field").hidden = !view.ranked;
  Object.values(charts).forEach((chart) => chart.close());
  charts = {};
  $("drawn").replaceChildren(...view.charts.map((one) => h("section", { class: "panel", "aria-labelledby": `chart-${one.name}-title` },
    h("h2", { id: `chart-${one.name}-title` }, one.title),
    h("div", { id: `chart-${one.name}`, class: "body" }, h("p", { class: "state" }, "Reading…")))));
  for (const one of view.charts) charts[one.name] = new Chart($(`chart-${one.name}`));
  $("heatmap").closest("section").hidden = !view.heatmap;
  if (!view.heatmap) $("heatmap").removeAttribute("aria-busy");
}

function showCustom() {
  document.querySelectorAll(".custom").forEach((field) => { field.hidden = $("range").value !== "custom"; });
}

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", async (event) => {
  const { id } = event.target;
  if (id === "windows") {
    setUp([]);
    await offer({});
  }
  if (id === "tenant") {
    remember($("tenant").value);
    await offer(keys());
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
  for (const box of document.querySelectorAll("details.picker")) if (!box.contains(event.target)) box.open = false;
});

async function begin() {
  const wanted = state();
  for (const id of ["range", "from", "to", "against", "axis"]) {
    if (wanted.has(id)) $(id).value = wanted.get(id);
  }
  showCustom();
  try {
    views = (await get("/api/windows")).windows;
    if (!views.length) {
      nothing("No windows that this token may see: their keys have no tenant, and the token is bound to one.");
      return;
    }
    fill($("windows"), views.map((one) => one.name), wanted.get("windows"));
    $("windows-field").hidden = views.length === 1;
    $("table").append(option(wanted.get("table") ?? "", ""));
    $("table").value = wanted.get("table") ?? "";
    setUp(wanted.getAll("figure"));
    for (const id of ["percentile", "rank", "order"]) if (wanted.has(id)) $(id).value = wanted.get(id);
    if (view.tenant) await tenants();
    await offer(Object.fromEntries(names().map((name) => [name, wanted.getAll(name)])), true);
    await read();
  } catch (error) {
    nothing("Not read.");
    numbers.fail(error, begin);
  }
}

const again = () => (view && (!view.tenant || tenantsKnown()) ? read() : begin());
onAgain(again);
offerCopies(() => ({ view, asked: asked(), ...shown }));
await begin();
onOverview(() => { if ($("range").value !== "custom") again(); });
start();
