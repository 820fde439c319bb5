import { $, h, table, toned, when } from "../dom.js";
import { ZONE, bytes, count, plural, seconds } from "../format.js";
import { fresh, onAgain, onOverview, start } from "../frame.js";
import { get } from "../api.js";
import { Panel } from "../panel.js";

const names = ["shards", "maps", "days", "backups", "drills", "regions"];
const panels = Object.fromEntries(names.map((name) => [name, new Panel($(name))]));
const TONES = { done: "good", whole: "good", damaged: "bad", returned: "warn" };
const mark = (state) => toned(TONES[state] ?? "", state);

const shards = (rows) => table("Shards", [
  { name: "Shard", head: true, cell: (one) => String(one.shard) },
  { name: "Addresses", kind: "name", cell: (one) => one.addresses.join(", ") },
  { name: "Windows of later days", cell: (one) => (one.takes_windows ? "takes some" : "takes none") },
], rows);

const maps = (rows) => table("Shard maps", [
  { name: "Map", head: true, cell: (one) => String(one.map) },
  { name: "Days", cell: (one) => one.days },
  { name: "Shards", number: true, cell: (one) => count(one.shards) },
  { name: "Placement", kind: "name", cell: (one) => one.placement },
  { name: "State", cell: (one) => (one.in_force ? "in force" : "announced") },
], rows);

const days = (rows) => table("Moved days", [
  { name: "Day (UTC)", head: true, cell: (one) => one.day },
  { name: "Map", number: true, cell: (one) => String(one.map) },
  { name: "State", cell: (one) => mark(one.state) },
  { name: "Next", kind: "name", cell: (one) => (one.unfinished ? `dia shards move ${one.map}` : "") },
], rows);

const backups = (rows) => table("Backups", [
  { name: "Backup", head: true, cell: (one) => one.name },
  { name: "State", cell: (one) => mark(one.state) },
  { name: `Begun (${ZONE})`, cell: (one) => when(one.begun_ms) },
  { name: "Builds on", kind: "name", cell: (one) => one.base },
  { name: "Bytes", number: true, cell: (one) => bytes(one.bytes) },
  { name: "Why", kind: "name", cell: (one) => one.why },
], rows);

const drills = (rows) => table("Drills", [
  { name: "Drill", head: true, cell: (one) => one.name },
  { name: `Begun (${ZONE})`, cell: (one) => when(one.began_ms) },
  { name: "Backup", kind: "name", cell: (one) => one.backup },
  { name: "Rows", number: true, cell: (one) => count(one.rows) },
  { name: "RTO", title: "From an empty server to compared rows", number: true, cell: (one) => seconds(one.rto_s) },
  { name: "RPO of facts", title: "Age of the backup at the loss", number: true, cell: (one) => seconds(one.rpo_s) },
  { name: "Rows lost", number: true, cell: (one) => count(one.lost_rows) },
], rows);

const regions = (rows) => table("Regions", [
  { name: "Region", head: true, cell: (one) => (one.here ? `${one.region} (this one)` : one.region) },
  { name: "Its journal says active", cell: (one) => one.active || "not known" },
  { name: "Epoch", number: true, cell: (one) => count(one.epoch) },
  { name: "Journal read", title: "Time since it was last read", number: true, cell: (one) => (one.read_s === null ? "never" : seconds(one.read_s)) },
  { name: "Not mirrored yet", title: "Records of the active region", number: true, cell: (one) => (one.missing_records === null ? "" : count(one.missing_records)) },
  { name: "Age of the oldest", number: true, cell: (one) => (one.missing_s === null ? "" : seconds(one.missing_s)) },
], rows);

const some = (rows, draw) => (rows.length ? draw(rows) : null);

async function read() {
  const data = await panels.shards.show((signal) => get("/api/data", {}, signal),
    (found) => { fresh(found); return some(found.shards, shards); }, "No server says its shard maps.", { again: read });
  if (!data) {
    for (const name of names.slice(1)) panels[name].put(null, "Not read.");
    return;
  }
  panels.maps.put(some(data.maps, maps), data.maps_unknown || "No map is recorded.");
  panels.days.put(some(data.days, days), data.maps_unknown || "No day has moved.");
  const left = data.backups_left_out ? h("p", { class: "hint" }, `${plural(data.backups_left_out, "older backup")} not shown.`) : null;
  panels.backups.put(data.backups.length ? h("div", {}, backups(data.backups), left) : null,
    data.backups_unknown || "No backup. dia backup create makes one.");
  panels.drills.put(some(data.drills, drills), data.backups_unknown || "No good drill yet. dia drill shard runs one.");
  panels.regions.put(some(data.regions, regions), "One region: DIA_REGION declares no other.");
}

onAgain(read);
await read();
onOverview(read);
start();
