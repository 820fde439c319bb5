import { Chart, faded, fromNothing, line, seriesColour, time } from "../chart.js";
import { $, figures, h, table, toned, when } from "../dom.js";
import { UNKNOWN, ZONE, bytes, count, measure, minute, moment, plural, rough, seconds, share } from "../format.js";
import { fresh, keep, onAgain, onOverview, start, state } from "../frame.js";
import { get } from "../api.js";
import { Panel } from "../panel.js";

const names = ["advice", "load", "needs", "processes", "hosts", "scaling", "pools", "test"];
const panels = Object.fromEntries(names.map((name) => [name, new Panel($(name))]));
const place = h("div");
const chart = new Chart(place);
const AWAY = "Unknown: ClickHouse does not answer.";
const EMPTY = "No history yet. It begins when a worker reads events, after dia migrate apply.";
const some = (rows, draw) => (rows?.length ? draw(rows) : null);

let load = null;
let forecast = null;

const amount = (one, value) => (value === null ? "–" : one.resource.includes("bytes") ? bytes(Math.round(value)) : rough(value));

const needs = (rows) => table("Needs", [
  { name: "Resource", head: true, kind: "name", cell: (one) => one.resource },
  { name: "Now", number: true, cell: (one) => amount(one, one.now) },
  { name: "At the horizon", number: true, cell: (one) => amount(one, one.needed) },
  { name: "There are", number: true, cell: (one) => amount(one, one.have) },
  { name: "Days left", number: true, cell: (one) => (one.days_left === null ? "–" : count(one.days_left)) },
], rows);

const processes = (rows) => table("Worker processes", [
  { name: "Process", head: true, kind: "name", cell: (one) => one.process },
  { name: "Processor", number: true, cell: (one) => share(one.cpu) },
  { name: "Memory", number: true, cell: (one) => bytes(one.memory_bytes) },
  { name: "Fullest buffer", number: true, cell: (one) => share(one.fill) },
  { name: "Behind", number: true, cell: (one) => seconds(one.behind_s) },
  { name: `Last sample (${ZONE})`, cell: (one) => when(one.at_ms) },
], rows);

const at = { name: `When (${ZONE})`, head: true, cell: (one) => when(one.at_ms) };
const change = [
  { name: "From", number: true, cell: (one) => count(one.before) },
  { name: "To", number: true, cell: (one) => count(one.after) },
  { name: "Why", cell: (one) => one.why },
];

const numberOf = (found, said) => h("div", {},
  h("p", {}, `${plural(found.processes, "process", "processes")} ${said}.`),
  some(found.changes, (rows) => table("Changes of their number", [at, ...change], rows)));
const scaling = (found) => numberOf(found, `now, ${count(found.least)} to ${count(found.most)} by the load`);
const hosts = (found) => numberOf(found, "did work in the last whole five minutes");

const pools = (rows) => h("div", {}, table("Pools of jobs", [
  { name: "Worker", head: true, cell: (one) => one.slot },
  { name: "Processes", number: true, cell: (one) => count(one.processes) },
  { name: "Jobs that wait", number: true, cell: (one) => count(one.waiting) },
], rows), some(
  rows.flatMap((pool) => pool.changes.map((one) => ({ ...one, slot: pool.slot }))),
  (changes) => table("Changes of their number", [at, { name: "Worker", cell: (one) => one.slot }, ...change], changes)));

const advice = (rows) => h("div", {}, rows.map((one) => h("p", {}, toned(one.tone, one.text))));

const shown = (one, value) => (value === null ? "not measured"
  : one.unit === "share" ? `${rough(100 * value)} %` : `${rough(value)} ${one.unit}`.trim());

const thresholds = (rows) => table("Thresholds", [
  { name: "Flow", head: true, kind: "name", cell: (one) => one.subject },
  { name: "Threshold", cell: (one) => one.what },
  { name: "Target", number: true, cell: (one) => `${one.at_least ? "≥" : "≤"} ${shown(one, one.target)}` },
  { name: "Achieved", number: true, cell: (one) => shown(one, one.achieved) },
  { name: "Result", cell: (one) => (one.held ? toned("good", "held") : toned("bad", "failed")) },
], rows);

const test = (found) => h("div", {},
  h("p", {}, toned(found.held ? "good" : "bad", found.interrupted ? "interrupted" : found.held ? "held" : "failed"),
    ` ${found.run}, begun ${moment(found.began_ms)} ${ZONE}: ${plural(found.requests, "request")}, ${count(found.failed)} failed.`),
  some(found.thresholds, thresholds));

function lines() {
  const ahead = (forecast?.hours ?? []).map((one) => ({ ...one, t: Date.parse(one.hour) / 1000 }));
  const t = [...new Set([...(load?.t ?? []), ...ahead.map((one) => one.t)])].sort((a, b) => a - b);
  const at = new Map(t.map((s, place_) => [s, place_]));
  const column = (pairs) => {
    const values = Array(t.length).fill(null);
    pairs.forEach(([s, value]) => { values[at.get(s)] = value; });
    return values;
  };
  const of = (name) => column(ahead.map((one) => [one.t, one[name]]));
  return [t, column((load?.t ?? []).map((s, index) => [s, load.events_per_s[index]])), of("events_per_s"), of("high"), of("low")];
}

function drawLoad(empty) {
  const data = lines();
  panels.load.put(data[0].length ? place : null, empty);
  if (!data[0].length) return;
  const [past, ahead] = [seriesColour(0), seriesColour(1)];
  const edge = (label) => line(label, faded(ahead, 40), { width: 1 });
  chart.show(() => ({
    label: `Events a second of each hour; the newest is ${minute(data[0].at(-1))} ${ZONE}`,
    data,
    options: {
      series: [time(), line("events/s", past), line("forecast", ahead), edge("high"), edge("low")],
      bands: [{ series: [3, 4], fill: faded(ahead, 18) }],
      scales: { y: fromNothing },
    },
  }));
}

function headline(found) {
  const busiest = found.processes?.[0] ?? null;
  const peak = found.needs?.find((one) => one.resource.startsWith("events a second")) ?? null;
  const left = (found.needs ?? []).map((one) => one.days_left).filter((days) => days !== null);
  const tested = found.last_test;
  return [
    { name: "Busiest process", value: busiest ? share(busiest.cpu) : UNKNOWN, tone: busiest?.cpu > found.busy ? "warn" : null,
      aside: `of one processor; a plan uses ${share(found.busy)} at the peak` },
    { name: "Busiest five minutes", value: peak ? measure(Number(peak.now.toPrecision(3))) : UNKNOWN, unit: peak ? "events/s" : null, aside: "of 7 days" },
    { name: "Days left", value: left.length ? count(Math.min(...left)) : "–", tone: left.some((days) => days < 30) ? "warn" : null,
      aside: left.length ? "until partitions or ClickHouse's disks are used up, by this growth" : "nothing runs out by this growth, or it is not known" },
    { name: "Last load test", value: tested ? (tested.held ? "held" : tested.interrupted ? "interrupted" : "failed") : "none",
      tone: tested && !tested.held ? "bad" : null, aside: tested ? moment(tested.began_ms) : "dia loadtest run FILE" },
  ];
}

async function readForecast() {
  try {
    forecast = await get("/api/capacity/forecast");
    $("forecast-said").textContent = forecast.unknown ? `No forecast: ${forecast.unknown}`
      : `Forecast of ${moment(forecast.made_ms)} ${ZONE} with its band, for 48 hours.`;
  } catch (error) {
    $("forecast-said").textContent = `No forecast: ${error.message}`;
  }
  drawLoad(load ? EMPTY : AWAY);
}

async function read() {
  const growth = $("growth").value;
  const found = await panels.needs.show((signal) => get("/api/capacity", { growth }, signal), (data) => {
    fresh(data);
    return some(data.needs, needs);
  }, "Not known yet.", { again: read });
  if (!found) {
    figures($("figures"), []);
    for (const name of names.filter((one) => one !== "needs")) panels[name].put(null, "Not read.");
    return;
  }
  load = found.load;
  figures($("figures"), headline(found));
  const missing = found.degraded ? AWAY : found.plan_unknown || EMPTY;
  if (!found.needs?.length) panels.needs.put(null, missing);
  panels.advice.put(some(found.advice, advice), found.needs?.length ? "Nothing to do." : missing);
  panels.processes.put(some(found.processes, processes), found.degraded ? AWAY : "No sample of the last 30 minutes.");
  panels.hosts.put(found.all_hosts ? hosts(found.all_hosts) : null, found.degraded ? AWAY : "No sample of the last 24 hours.");
  panels.scaling.put(found.scaling ? scaling(found.scaling) : null, "No dia worker --processes-min runs on this host: the number is fixed.");
  panels.pools.put(some(found.pools, pools), "No worker that this console knows runs jobs.");
  panels.test.put(found.last_test ? test(found.last_test) : null,
    found.last_test_unknown || "No load test in this installation's folder. dia loadtest run FILE makes one.");
  drawLoad(found.degraded ? AWAY : EMPTY);
}

const asked = state().get("growth");
if (asked && [...$("growth").options].some((one) => one.value === asked)) $("growth").value = asked;
$("growth").addEventListener("change", () => {
  keep({ growth: $("growth").value });
  read();
});
onAgain(read);
await read();
onOverview(read);
start();
await readForecast();
