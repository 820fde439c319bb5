// Which tenants send most, which fail most and since when, and whose events come latest.

import { $, h, table, when } from "./dom.js";
import { ZONE, count, plural, seconds } from "./format.js";
import { get, query } from "./api.js";
import { Panel } from "./panel.js";

const sending = new Panel($("sending"));
const failing = new Panel($("failing"));
const late = new Panel($("late"));

const letters = (tenant) => `/dead-letters?${query({ tenant })}`;
const percent = (part, whole) => {
  const share = (100 * part) / whole;
  return share >= 99.95 ? "100 %" : share < 0.1 ? "below 0.1 %" : `${share.toFixed(1)} %`;
};
const share = ({ dead_letters: dead, events }) => percent(dead, dead + events);

function drawSending({ sending: found, events }) {
  if (!found.length) return null;
  return table("Tenants with the most events", [
    { name: "Tenant", head: true, kind: "name", cell: (one) => h("a", { href: `/explore?${query({ tenant: one.tenant })}` }, one.tenant) },
    { name: "Events", number: true, cell: (one) => count(one.events) },
    { name: "", kind: "bars", cell: (one) => h("span", { class: "bar", width: `${(100 * one.events) / found[0].events}%` }) },
    { name: "Series", number: true, title: "Models and metrics, within 1 %", cell: (one) => count(one.series) },
    { name: "Share", number: true, cell: (one) => `${((100 * one.events) / events).toFixed(1)} %` },
  ], found);
}

function drawFailing({ failing: found, dead_letters: all, tenants }) {
  if (!found.length) return null;
  return h("div", {}, table("Tenants with the most dead letters", [
    { name: "Tenant", head: true, kind: "name", cell: (one) => (one.tenant ? h("a", { href: letters(one.tenant) }, one.tenant) : "unknown") },
    { name: "Dead letters", number: true, cell: (one) => count(one.dead_letters) },
    { name: "Of its records", number: true, cell: share },
    { name: "Mostly", cell: (one) => one.code },
    { name: `Since (${ZONE})`, cell: (one) => when(one.first_ms) },
    { name: `Last (${ZONE})`, cell: (one) => when(one.last_ms) },
  ], found), h("p", { class: "hint" }, `${plural(all, "dead letter")} of ${plural(tenants, "tenant")} with records in this range. `
    + "A record that names no tenant counts for the one of its key."));
}

function drawLate({ late: found, late_s: bound }) {
  if (!found.length) return null;
  return h("div", {}, table("Tenants with the most late minutes", [
    { name: "Tenant", head: true, kind: "name", cell: (one) => h("a", { href: `/explore?${query({ tenant: one.tenant })}` }, one.tenant) },
    { name: "Late minutes", number: true, title: "Of each series and partition", cell: (one) => count(one.late) },
    { name: "Of its minutes", number: true, cell: (one) => percent(one.late, one.minutes) },
    { name: "Latest", number: true, title: "After the end of its minute", cell: (one) => seconds(one.latest_s) },
  ], found), h("p", { class: "hint" }, `Late: last written more than ${seconds(bound)} after the minute's end, by events that came `
    + "late, by a pipeline that was behind, or by dia rebuild."));
}

export async function readTenants(range, { quiet = false } = {}) {
  const again = () => readTenants(range);
  let asked = null;
  const once = (signal) => { asked ??= get("/api/tenants/top", { range }, signal); return asked; };
  await Promise.all([
    sending.show(once, drawSending, "No event in this range.", { quiet, again }),
    failing.show(once, drawFailing, "No dead letter in this range.", { quiet, again }),
    late.show(once, drawLate, "No late minute in this range.", { quiet, again }),
  ]);
}
