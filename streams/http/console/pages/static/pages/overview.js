import { Chart, bars, fromNothing, marks, seriesColour, span, time, token } from "../chart.js";
import { $, figures, h, table, toned } from "../dom.js";
import { count, plural, seconds, UNKNOWN } from "../format.js";
import { LEVELS, degraded, fresh, keep, onAgain, onLive, onOverview, start, state } from "../frame.js";
import { get, ownTenant } from "../api.js";
import { Panel } from "../panel.js";
import { sparkline } from "../spark.js";
import { readTenants } from "../tenants.js";

// A token of one tenant has no page of all, and no history.
const everyone = !ownTenant();
const past = everyone ? await import("../backlogs.js") : null;
let unread = [];
let readPerS = null;
// Deploys, outages, rebalances, replays, skipped records: they are marked on the charts.
let changes = [];
const chart = new Chart($("throughput"));
const panels = Object.fromEntries(["services", "lag", "workers"].map((id) => [id, new Panel($(id))]));

function goal(found) {
  if (!found) return { value: "no data", aside: "no row was written in the last hour" };
  const share = ((100 * found.good) / found.total).toFixed(2);
  return {
    value: found.left < 0 ? "missed" : "met",
    tone: found.left < 0 ? "bad" : found.left < 0.25 ? "warn" : null,
    aside: `${share} % of rows within ${found.within_s} s, goal ${(found.objective * 100).toFixed(1)} %`,
  };
}

const rate = (found) => (!found ? UNKNOWN : found.events_per_s < 10 ? found.events_per_s.toFixed(1)
  : count(found.events_per_s));

const written = (age_s) => (age_s === null ? "no row written yet" : `last row written ${seconds(age_s)} ago`);

const TONES = { healthy: "good", warning: "warn", unknown: "warn", red: "bad" };
const late = ({ p95_s, beyond }) => (p95_s === null ? "no data" : `${beyond ? "over " : ""}${seconds(p95_s)}`);

// A token of one tenant gets no figures of all: `lag`, `error_budget`, `workers` are null together.
function ofAll({ error_budget, lag, health }) {
  if (!lag) return [];
  const unowned = lag.partitions.filter((one) => one.owner === null).length;
  return [
    { name: `Freshness goal, last ${seconds(error_budget?.window_s ?? 3600)}`, ...goal(error_budget) },
    { name: "Unread", href: "#behind", trend: sparkline(unread), value: count(lag.records), unit: lag.records === null ? null : "records",
      tone: health.verdict === "red" ? "bad" : null,
      aside: unowned ? `no worker is assigned to ${count(unowned)} of ${plural(lag.partitions.length, "partition")}`
        : `in ${plural(lag.partitions.length, "partition")}` },
  ];
}

function headline(overview) {
  const { throughput, freshness, dead_letters, level, health } = overview;
  const letters = dead_letters?.last_hour;
  const found = health.findings[0];
  return [
    { name: "Health", href: everyone ? "#alerts" : null, value: health.verdict, tone: TONES[health.verdict],
      aside: found ? `${found.subject}: ${found.detail}` : health.verdict === "healthy" ? "every partition is read" : null },
    { name: "Throughput", href: "#throughput", value: rate(throughput), unit: throughput && "events/s",
      aside: `${throughput ? "applied, mean of the last 5 whole minutes of event time" : "ClickHouse does not answer"}${
        readPerS === null ? "" : `; ${rate({ events_per_s: readPerS })} records/s read now`}`,
      trend: throughput && sparkline(perMinute(overview).events.slice(0, -1)) },
    { name: "Freshness, p95", value: late(freshness), trend: sparkline(freshness.p95_trend_s),
      aside: `last ${seconds(freshness.window_s)}; ${written(freshness.newest_window_age_s)}` },
    ...ofAll(overview),
    { name: "Dead letters, last hour", href: "/dead-letters?since=-1h", trend: dead_letters?.course && sparkline(dead_letters.course), value: count(letters), tone: letters ? "warn" : null },
    { name: "Service level", value: level ? LEVELS[level.level] ?? level.name : UNKNOWN, tone: level?.level ? "warn" : null,
      aside: level?.reasons.join("; ") },
  ];
}

// A minute without events is a minute with none, not a shorter hour. The last one is not over yet.
function perMinute({ throughput: { minutes }, as_of_ms }) {
  const counted = new Map(minutes.t.map((at, row) => [at, minutes.events[row]]));
  const newest = Math.floor(as_of_ms / 60_000) * 60;
  const t = Array.from({ length: 60 }, (_, at) => newest - 60 * (59 - at));
  return { t, events: t.map((at) => counted.get(at) ?? 0) };
}

function throughput(found, as_of_ms) {
  if (!found) {
    chart.clear("Unknown: ClickHouse does not answer.");
    return;
  }
  if (!found.minutes.t.length) {
    chart.clear("No event in the last hour.");
    return;
  }
  const { t, events } = perMinute({ throughput: found, as_of_ms });
  const last = events.length - 1;
  chart.show(() => ({
    options: {
      series: [time(), bars("events", seriesColour(0)), bars("events so far, minute incomplete", token("muted"))],
      scales: { x: span(t, 60), y: fromNothing },
      plugins: [marks(changes)],
    },
    data: [t, events.map((n, at) => (at === last ? null : n)), events.map((n, at) => (at === last ? n : null))],
    label: `Events per minute over ${t.length} minutes; the current minute, still incomplete, has ${count(events[last])}${
      changes.length ? `; ${plural(changes.length, "change")} marked` : ""}`,
  }));
}

function lag(found) {
  const rows = [...found.partitions].sort((a, b) => (b.lag ?? 0) - (a.lag ?? 0) || a.topic.localeCompare(b.topic));
  const most = Math.max(1, ...rows.map((row) => row.lag ?? 0));
  return rows.length ? table("Lag by partition", [
    { name: "Topic", head: true, kind: "name", cell: (row) => `${row.topic}/${row.partition}` },
    { name: "Lag", number: true, cell: (row) => count(row.lag) },
    { name: "", kind: "bars", cell: (row) => h("span", { class: "bar", width: `${(100 * (row.lag ?? 0)) / most}%` }) },
    { name: "State", cell: (row) => (row.stopped_by ? toned("bad", row.stopped_by)
      : row.owner === null ? toned(row.lag ? "bad" : "warn", "no worker assigned")
        : row.paused ? toned("warn", "paused") : row.phase ?? UNKNOWN) },
    { name: "Worker", number: true, cell: (row) => row.worker ?? row.owner ?? "none" },
  ], rows) : null;
}

const services = (found) => (found.length ? table("Services", [
  { name: "Service", head: true, cell: (one) => one.name },
  { name: "State", cell: (one) => (one.ok ? toned("good", "Up") : toned("bad", `Down${one.detail ? `: ${one.detail}` : ""}`)) },
], found) : null);

function workers({ workers: found, breakers }) {
  if (!found.length) return null;
  return h("div", {}, table("Workers", [
    { name: "Worker", head: true, cell: (one) => one.slot },
    { name: "State", cell: (one) => (one.ready ? toned("good", one.settled ? "settled" : "ready") : toned("warn", "starting")) },
    { name: "Partitions", number: true, cell: (one) => count(one.partitions) },
  ], found), breakers.length ? table("Breakers", [
    { name: "Breaker", head: true, cell: (one) => `${one.dependency}` },
    { name: "State", cell: (one) => toned(one.state === "closed" ? "good" : "bad", one.state) },
    { name: "Worker", number: true, cell: (one) => one.worker },
  ], breakers) : null);
}

function draw(overview) {
  fresh(overview);
  figures($("figures"), headline(overview));
  throughput(overview.throughput, overview.as_of_ms);
  panels.services.put(services(overview.services), "No service is known.");
  if (!overview.lag) {
    for (const panel of [panels.lag, panels.workers]) panel.put(null, "Only an admin token that is bound to no tenant sees this.");
    return;
  }
  panels.lag.put(lag(overview.lag), overview.lag.records === null
    ? "Unknown: Kafka did not say." : "No partition is declared.");
  panels.workers.put(workers(overview), "No workers running. Start one: dia worker");
}

async function read() {
  try {
    draw(await get("/overview"));
  } catch (error) {
    degraded("overview", `The overview cannot be read: ${error.message}`);
    for (const panel of Object.values(panels)) panel.fail(error, read);
  }
}

const HISTORY_EVERY_MS = 10_000;
let readAt = 0;

const remembered = () => keep({
  range: $("range").value === "1h" ? "" : $("range").value,
  lag: $("lag-in")?.value === "seconds" ? "seconds" : "",
});

async function readPast(quiet = false) {
  readAt = Date.now();
  remembered();
  if (!past) return;
  await past.readHistory($("range").value, $("lag-in").value, ({ backlogs, unread: { t, readers }, changes: found }) => {
    changes = found;
    const rates = backlogs.map((one) => one.read_per_s);
    readPerS = rates.length && !rates.includes(null) ? rates.reduce((sum, one) => sum + one, 0) : null;
    unread = t.map((_, at) => readers.reduce((sum, { unread: of }) => (sum === null || of[at] === null ? null : sum + of[at]), 0));
  }, { quiet });
}

function drawLive(overview) {
  draw(overview);
  if (Date.now() - readAt >= HISTORY_EVERY_MS) readPast(true);
}

const readAll = () => Promise.all([readPast().then(read), readTenants($("range").value)]);

const wanted = state().get("range");
if ([...$("range").options].some((one) => one.value === wanted)) $("range").value = wanted;
$("range").addEventListener("change", readAll);
if (past) {
  if (state().get("lag") === "seconds") $("lag-in").value = "seconds";
  $("lag-in").addEventListener("change", () => {
    remembered();
    past.lagIn($("lag-in").value);
  });
}
onAgain(readAll);
onLive(drawLive);
onOverview(() => readTenants($("range").value, { quiet: true }));
await readAll();
start();
