// Topics as tables: the list, and one with settings, partitions and the groups that read it.

import { h, table, toned } from "./dom.js";
import { count, plural, seconds } from "./format.js";

const retention = (ms) => (ms === null ? "default" : ms < 0 ? "unlimited" : seconds(ms / 1000));
const KINDS = ["source", "dlq", "parked", "changelog", "journal", "schedule", ""];

// `own`: the token is bound to a tenant, and sees no figures of all tenants.
export function topicList(found, { own, open }) {
  const order = [...found].sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || a.name.localeCompare(b.name));
  return table("Topics", [
    { name: "Topic", head: true, kind: "name", cell: (one) => one.name },
    { name: "Kind", cell: (one) => one.kind || "other" },
    { name: "Partitions", number: true, cell: (one) => count(one.partitions) },
    ...(own ? [] : [
      { name: "Offsets held", number: true, cell: (one) => count(one.offsets) },
      { name: "Retention", number: true, cell: (one) => retention(one.retention_ms) },
      { name: "Copies", number: true, cell: (one) => count(one.replication) },
      { name: "Read by", kind: "name", cell: (one) => one.groups.join(", ") },
    ]),
  ], order, { open: (one) => open(one.name) });
}

const partitions = (found) => table("Partitions", [
  { name: "Partition", head: true, number: true, cell: (one) => String(one.partition) },
  { name: "Leader", number: true, cell: (one) => (one.leader < 0 ? "none" : String(one.leader)) },
  { name: "In sync", number: true, cell: (one) => `${one.in_sync.length} of ${one.replicas.length}` },
  { name: "Begin", number: true, cell: (one) => count(one.begin) },
  { name: "Last stable offset", number: true, cell: (one) => count(one.stable_end) },
  { name: "End", number: true, cell: (one) => count(one.end) },
  ...found[0].groups.map(({ group }, at) => ({
    name: `Lag of ${group}`, number: true, cell: (one) => count(one.groups[at].lag),
  })),
], found);

const settings = (found) => table("Settings", [
  { name: "Setting", head: true, kind: "name", cell: (one) => one.setting },
  { name: "On the broker", kind: "name", cell: (one) => one.value || "default" },
  { name: "Declared", kind: "name", cell: (one) => one.declared },
  { name: "", cell: (one) => (one.declared && one.declared !== one.value
    ? toned("warn", "differs") : "") },
], found);

export const description = (sheet) => h("div", {},
  h("h3", {}, plural(sheet.partitions.length, "partition")), partitions(sheet.partitions),
  h("h3", {}, "Settings"), settings(sheet.settings));
