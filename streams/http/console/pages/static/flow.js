// The pipeline as a graph: for each agent its source, itself, its tables, its outbox and its sinks, from left to
// right. A node says how much passes it, and in its colour what holds it up.

import { h } from "./dom.js";
import { bytes, count, plural, seconds, share } from "./format.js";

// Of the rows that say it; null where none does.
export const sum = (rows, of) => {
  const known = rows.map(of).filter((value) => value !== null && value !== undefined);
  return known.length ? known.reduce((total, value) => total + value, 0) : null;
};
const rate = (value) => (value === null || value === undefined ? "rate unknown" : `${count(value)} records/s`);

function source(agent, rows, backlog) {
  const unread = sum(rows, (one) => one.lag);
  const late = backlog && ["falling behind", "standing still"].includes(backlog.course);
  return { kind: "Source", name: agent.topic, tone: late ? "bad" : null, says: [
    rate(backlog?.arriving_per_s),
    unread === null ? "unread: unknown" : `${plural(unread, "record")} unread`,
    backlog?.unread ? `oldest ${backlog.at_least ? "over" : "up to"} ${seconds(backlog.behind_s)}` : null,
  ] };
}

// The watermark of the partition that is furthest behind.
function behindEventTime(rows) {
  const known = rows.map((one) => one.event_time_lag_s).filter((value) => value !== null && value !== undefined);
  return known.length ? `watermark ${seconds(Math.max(0, ...known))} ago` : null;
}

// The busiest of the workers that own its partitions.
function busiest(rows, workers) {
  const owners = new Set(rows.map((one) => one.owner));
  const known = workers.filter((one) => owners.has(one.slot) && one.busy !== null).map((one) => one.busy);
  return known.length ? `busiest worker: ${share(Math.max(...known))} of a processor` : null;
}

function reader(agent, rows, backlog, workers) {
  const read = rows.filter((one) => one.owner !== null || one.member !== null).length;
  const paused = rows.filter((one) => one.paused).length;
  const stopped = rows.filter((one) => one.stopped_by).length;
  return { kind: "Agent", name: agent.name, tone: stopped || read < rows.length ? "bad" : paused ? "warn" : null, says: [
    rate(backlog?.read_per_s),
    behindEventTime(rows),
    busiest(rows, workers),
    `${count(read)} of ${plural(rows.length, "partition")} read`,
    paused ? `back-pressure: ${count(paused)} paused` : null,
    stopped ? `${count(stopped)} stopped` : null,
  ] };
}

const tables = (agent, rows) => {
  const windows = sum(rows, (one) => one.live_windows);
  const stored = sum(rows, (one) => one.state_bytes);
  return { kind: "Tables", name: agent.tables.join(", "), says: [
    windows === null ? null : `${plural(windows, "live window")}`,
    stored === null ? "size unknown" : `${bytes(stored)} on disk`,
  ] };
};

const outbox = (rows) => {
  const owed = sum(rows, (one) => one.unacked_rows);
  return { kind: "Outbox", name: owed === null ? "unknown" : plural(owed, "row"), says: ["not yet acknowledged"] };
};

function sinks(services) {
  const shards = (services ?? []).filter((one) => one.name.startsWith("clickhouse"));
  const down = shards.filter((one) => !one.ok);
  return { kind: "Sinks", name: "ClickHouse", tone: down.length ? "bad" : null, says: [
    shards.length ? `${count(shards.length - down.length)} of ${plural(shards.length, "shard")} up` : "no shard is known",
    ...down.map((one) => `${one.name} is down`),
  ] };
}

const node = ({ kind, name, tone, says }) => h("div", { class: `node ${tone ?? ""}` },
  h("span", { class: "kind" }, kind), h("strong", {}, name), says.filter(Boolean).map((text) => h("span", { class: "says" }, text)));

// `choose(topic)`: a click on a row of the graph; `chosen` is the topic of the row that is pressed.
export function flow({ agents, partitions, workers }, backlogs, services, { chosen, choose }) {
  return h("div", { class: "flows" }, agents.map((agent) => {
    const rows = partitions.filter((one) => one.topic === agent.topic && one.group === agent.group);
    const backlog = backlogs.find((one) => one.topic === agent.topic && one.group === agent.group);
    const nodes = [source(agent, rows, backlog), reader(agent, rows, backlog, workers), tables(agent, rows), outbox(rows), sinks(services)];
    return h("button", { type: "button", class: "flow", "aria-pressed": String(chosen === agent.topic),
      title: "Show its partitions only", onclick: () => choose(chosen === agent.topic ? "" : agent.topic) },
    nodes.map(node));
  }));
}
