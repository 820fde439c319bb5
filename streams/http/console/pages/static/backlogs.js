// Who is behind and until when, and what changed: what the console remembers of the pipeline.

import { Chart, fromNothing, line, marks, seriesColour, time } from "./chart.js";
import { $, h, table, toned, when } from "./dom.js";
import { UNKNOWN, ZONE, count, moment, clock, plural, seconds } from "./format.js";
import { get, query } from "./api.js";
import { Panel } from "./panel.js";

const COURSES = { "caught up": "good", "keeping up": "good", "catching up": "warn", "falling behind": "bad",
  "standing still": "bad", unknown: "muted" };
const KINDS = { outage: "Service", worker: "Worker", deploy: "Deploy", rebalance: "Rebalance", health: "Health", replay: "Replay", skip: "Skip" };
const TONES = { red: "bad", unknown: "warn", warning: "warn" };
const alerts = new Panel($("alerts"));
const behind = new Panel($("behind"));
const changes = new Panel($("changes"));
const chart = new Chart($("unread"));
const read = new Chart($("read"));

const rate = (value) => (value === null ? "" : `${count(value)}/s`);

// The day only where it is another one than that of the answer.
const until = (ms, now) => (moment(ms).slice(0, 10) === moment(now).slice(0, 10) ? clock(ms) : moment(ms));

function oldest(one) {
  if (one.behind_s === null) return "unknown";
  if (one.unread === 0) return "–";
  return `${one.at_least ? "over " : "up to "}${seconds(one.behind_s)}`;
}

function state({ course, unread }) {
  if (course !== "unknown") return course;
  return unread === null ? "unknown" : "measuring";
}

function ends({ course, caught_up_ms: at }, now) {
  if (course === "caught up") return "now";
  if (course === "keeping up") return "reads as it arrives";
  if (at !== null) return `${until(at, now)} ${ZONE}, in ${seconds((at - now) / 1000)}`;
  return course === "unknown" ? "" : "not at this rate";
}

function drawBehind({ backlogs, as_of_ms: now }) {
  if (!backlogs.length) return null;
  return table("Who is behind", [
    { name: "Group", head: true, kind: "name", cell: (one) => one.group },
    { name: "Reads", kind: "name", cell: (one) => h("a", { href: `/messages?${query({ topic: one.topic })}` }, one.topic) },
    { name: "Unread", number: true, cell: (one) => count(one.unread) },
    { name: "Oldest unread", number: true, cell: oldest },
    { name: "Arriving", number: true, cell: (one) => rate(one.arriving_per_s) },
    { name: "Read", number: true, cell: (one) => rate(one.read_per_s) },
    { name: "State", cell: (one) => toned(COURSES[one.course], state(one)) },
    { name: "Caught up at", kind: "name", cell: (one) => ends(one, now) },
  ], [...backlogs].sort((a, b) => (b.behind_s ?? Infinity) - (a.behind_s ?? Infinity) || (b.unread ?? 0) - (a.unread ?? 0)));
}

const drawAlerts = ({ alerts: found }) => (found.length ? table("What is wrong", [
  { name: `Since (${ZONE})`, head: true, cell: (one) => when(one.since_ms) },
  { name: "Severity", cell: (one) => toned(TONES[one.severity] ?? "", one.severity) },
  { name: "Of", kind: "name", cell: (one) => one.subject },
  { name: "What", kind: "message", cell: (one) => one.detail },
  { name: "Next", cell: (one) => (one.next ? h("code", {}, one.next) : "wait") },
  { name: "Runbook", cell: (one) => h("code", {}, `ops/runbooks/${one.runbook}.md`) },
], found) : null);

// In records, or in seconds since the oldest unread record was appended.
const LAGS = { records: ["unread", count], seconds: ["behind_s", seconds] };

// `name` is the column of each reader; `said` begins the label, and `shown` formats its newest values.
function drawCourse(place, { unread: { t, readers }, changes: found }, name, said, shown) {
  if (t.length < 2) {
    place.clear("The console measures every 10 s while it runs: the first points follow.");
    return;
  }
  place.show(() => ({
    options: {
      series: [time(), ...readers.map(({ topic }, at) => line(topic, seriesColour(at)))],
      scales: { y: fromNothing },
      plugins: [marks(found)],
    },
    data: [t, ...readers.map((one) => one[name])],
    label: `${said} over time: ${readers.map((one) => `${one.topic} ${shown(one[name].at(-1))}`).join(", ")}`,
  }));
}

function drawUnread(found, unit) {
  const [name, shown] = LAGS[unit];
  drawCourse(chart, found, name, `Lag in ${unit}`, shown);
}

// By processing time, beside the chart by event time.
const drawRead = (found) => drawCourse(read, found, "read_per_s", "Records read per second", (value) => rate(value) || UNKNOWN);

function drawChanges({ changes: found, observed_since_ms: since, orders_known: known, changes_left_out: more }) {
  const notes = [`Outages, workers and owners since this console began to watch, ${moment(since)} ${ZONE}.`];
  if (!known) notes.push("Kafka does not answer: replays and skipped records are missing.");
  if (more) notes.push(`${plural(more, "older change")} not shown.`);
  const hint = h("p", { class: "hint" }, notes.join(" "));
  if (!found.length) return h("div", {}, h("p", { class: "state" }, "Nothing changed in this range."), hint);
  return h("div", {}, table("What changed", [
    { name: `When (${ZONE})`, head: true, cell: (one) => when(one.at_ms) },
    { name: "What", cell: (one) => toned(one.bad ? "bad" : "muted", KINDS[one.kind]) },
    { name: "Of", kind: "name", cell: (one) => one.subject },
    { name: "", kind: "name", cell: (one) => one.text },
  ], found), hint);
}

let newest = null;

// `seen(history)` is called with each answer. The tables and the chart are of one answer.
export async function readHistory(range, unit, seen, { quiet = false } = {}) {
  const found = await behind.show((signal) => get("/api/history", { range }, signal), drawBehind,
    "No topic is read by an agent, or Kafka has not answered yet.", { quiet, again: () => readHistory(range, unit, seen) });
  if (!found) {
    for (const one of ["alerts", "unread", "read", "changes"]) $(one).removeAttribute("aria-busy");
    return;
  }
  newest = found;
  alerts.put(drawAlerts(found), "Nothing is wrong: every rule of health holds.");
  drawUnread(found, unit);
  drawRead(found);
  changes.put(drawChanges(found), "");
  seen(found);
}

export const lagIn = (unit) => newest && drawUnread(newest, unit);
