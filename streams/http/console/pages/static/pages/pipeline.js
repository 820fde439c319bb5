import { $, figures, h, table, toned, when } from "../dom.js";
import { UNKNOWN, ZONE, age, bytes, count, plural, share } from "../format.js";
import { flow, sum } from "../flow.js";
import { fresh, keep, onAgain, onLive, start, state, unlessPaused, watch } from "../frame.js";
import { get } from "../api.js";
import { Panel } from "../panel.js";
import { shell } from "../queries.js";
import { moved, shedding } from "../shedding.js";

const panels = Object.fromEntries(["flow", "partitions", "ledger", "workers"].map((id) => [id, new Panel($(id))]));
// A worker that this console does not know tells no figure, and some figures do not apply to a partition.
const some = (shown, value) => (value === null || value === undefined ? "–" : shown(value));
const where = { name: "Partition", head: true, kind: "name", cell: (one) => `${one.topic}/${one.partition}` };

let newest = null;
let backlogs = [];
let services = null;
let chosen = state().get("topic") ?? "";
let measuredAt = 0;
const MEASURED_EVERY_MS = 10_000;
const advanced = () => $("advanced").checked;
const protocol = (columns) => (advanced() ? columns : []);

function condition(one) {
  if (one.owner === null && one.member === null) return toned(one.lag ? "bad" : "warn", "no worker assigned");
  if (one.stopped_by) return toned("bad", one.stopped_by);
  if (one.paused) return toned("warn", "paused");
  if (one.owner === null) return "on another host";
  return toned(one.phase === "ready" ? "good" : "warn", one.phase);
}

const partitions = (found) => table("Partitions", [
  where,
  ...protocol([{ name: "Group", cell: (one) => one.group }]),
  { name: "Worker", number: true, cell: (one) => one.owner ?? one.member ?? "none" },
  { name: "State", cell: condition },
  { name: "Lag", number: true, cell: (one) => count(one.lag) },
  { name: "Last commit", number: true, cell: (one) => (one.last_commit_ms ? `${age(one.last_commit_ms)} ago` : newest.ledger_known ? "none" : UNKNOWN) },
  ...protocol([{ name: "Live windows", number: true, cell: (one) => some(count, one.live_windows) }]),
  { name: "Unacknowledged", number: true, cell: (one) => some(count, one.unacked_rows) },
  { name: "On disk", number: true, cell: (one) => some(bytes, one.state_bytes) },
  ...protocol([
    { name: "Changelog size", number: true, cell: (one) => some(bytes, one.changelog_live_bytes) },
    { name: "Restored at start", number: true, cell: (one) => some(count, one.restored_records) },
    { name: "Epoch", number: true, cell: (one) => count(one.epoch) },
  ]),
], found);

const ledger = (found) => table("Ledger", [
  where,
  { name: "Read", number: true, cell: (one) => count(one.ledger.read) },
  { name: "Applied", number: true, cell: (one) => count(one.ledger.applied) },
  { name: "Duplicates", number: true, cell: (one) => count(one.ledger.duplicates) },
  { name: "Dead", number: true, cell: (one) => count(one.ledger.dead) },
  { name: "Skipped", number: true, cell: (one) => count(one.ledger.shed) },
  ...protocol([
    { name: "Offset gaps", number: true, cell: (one) => count(one.ledger.gaps) },
    { name: "Next offset", number: true, cell: (one) => count(one.ledger.next_offset) },
  ]),
  { name: "Balance", title: "read = applied + duplicates + dead + skipped", cell: (one) =>
    (one.ledger.balanced ? toned("good", "adds up") : toned("bad", "does not add up")) },
  { name: `Written (${ZONE})`, cell: (one) => when(one.ledger.at_ms) },
], found);

const workers = (found) => h("div", {}, table("Workers", [
  { name: "Worker", head: true, cell: (one) => one.slot },
  { name: "Process", number: true, cell: (one) => String(one.pid) },
  { name: "State", cell: (one) => (one.ready ? toned("good", one.settled ? "settled" : "ready") : toned("warn", "starting")) },
  { name: "Partitions", number: true, cell: (one) => count(one.partitions) },
  { name: "Busy", number: true, title: "Share of one processor, of the last ten seconds", cell: (one) => share(one.busy) },
  { name: "Log", cell: (one) => (one.log ? h("code", {}, `tail -n 50 -F ${shell(one.log)}`) : "with its supervisor") },
], found), h("p", { class: "hint" }, "Settings in force, and where each comes from, on the worker's host: ",
  h("code", {}, "dia config show --explain"), ". A log that goes to no file is kept by what started the worker: ",
  h("code", {}, "docker compose logs worker"), ", ", h("code", {}, "kubectl logs POD"), "."));

function headline({ ledger_known: known, settled, verdict, lag_records: lag, partitions: all, workers: running }) {
  const books = all.filter((one) => one.ledger);
  const wrong = books.filter((one) => !one.ledger.balanced).length;
  const orphans = all.filter((one) => one.owner === null && one.member === null).length;
  return [
    { name: "Health", value: verdict, tone: verdict === "red" ? "bad" : verdict === "healthy" ? null : "warn" },
    { name: "Pipeline", value: settled ? "Idle" : running.length ? "Running" : "Stopped: no workers",
      aside: settled ? "all caught up: nothing unread, no row to send, no open window"
        : lag ? `${count(lag)} records behind` : running.length ? "rows to send, or windows open" : "start one: dia worker" },
    { name: "Partitions", value: count(all.length), tone: orphans ? "warn" : null,
      aside: orphans ? `no worker is assigned to ${count(orphans)} of them` : `on ${plural(running.length, "worker process", "worker processes")}` },
    { name: "Unread", value: count(lag), unit: lag === null ? null : "records", tone: verdict === "red" ? "bad" : null },
    { name: "State on disk", value: bytes(sum(all, (one) => one.state_bytes)) },
    { name: "Ledger", value: !known ? UNKNOWN : books.length ? (wrong ? `${wrong} off` : "adds up") : "empty", tone: wrong ? "bad" : null,
      aside: known ? `${plural(books.length, "partition")}; dia audit compares it with the log` : "ClickHouse does not answer" },
  ];
}

function choose(topic) {
  chosen = topic;
  keep({ topic });
  draw(newest);
}

function draw(found) {
  newest = found;
  fresh(found);
  figures($("figures"), headline(found));
  panels.flow.put(found.agents.length ? flow(found, backlogs, services, { chosen, choose }) : null, "No agent is declared.");
  const order = found.partitions.filter((one) => !chosen || one.topic === chosen).sort((a, b) =>
    a.group.localeCompare(b.group) || a.topic.localeCompare(b.topic) || a.partition - b.partition);
  const books = order.filter((one) => one.ledger);
  panels.partitions.put(order.length ? partitions(order) : null, "No partition is assigned. Start a worker: dia worker");
  panels.ledger.put(books.length ? ledger(books) : null, found.ledger_known ? "No partition has written its ledger row yet." : "Unknown: ClickHouse does not answer.");
  moved();
  panels.workers.put(found.workers.length ? workers(found.workers) : null, "No workers running. Start one: dia worker");
  if (Date.now() - measuredAt >= MEASURED_EVERY_MS) measure();
}

// Rates and ages; without them the graph still has what the pipeline says of itself.
async function measure() {
  measuredAt = Date.now();
  const found = await get("/api/history").catch(() => null);
  backlogs = found?.backlogs ?? [];
  if (found) draw(newest);
}

async function read() {
  try {
    draw(await get("/api/pipeline"));
    return true;
  } catch (error) {
    for (const panel of Object.values(panels)) panel.fail(error, error.status === 403 ? null : read);
    figures($("figures"), []);
    return error.status !== 403;
  }
}

onAgain(read);
onLive((overview) => { services = overview.services; });
$("advanced").addEventListener("change", () => newest && draw(newest));
shedding();
if (await read()) watch("/live/pipeline", unlessPaused(draw));
start();
