import { $, h, table } from "../dom.js";
import { age, bytes, count, moment } from "../format.js";
import { keep, onAgain, start, state } from "../frame.js";
import { get, ownTenant } from "../api.js";
import { sheet } from "../letter.js";
import { Panel } from "../panel.js";
import { planning, readPlans } from "../replay.js";

const PAGE = 50;
const FILTERS = ownTenant() ? ["topic", "error", "since"] : ["topic", "error", "tenant", "since"];
const groups = new Panel($("groups"));
const list = new Panel($("letters"));
const detail = new Panel($("letter"));
let chosen = "";
let after = [];

const filters = () => Object.fromEntries(FILTERS.map((id) => [id, $(id).value.trim()]));

function remembered() {
  const { topic, ...rest } = filters();
  keep({ topic: $("topic").selectedIndex ? topic : "", ...rest, by: $("by").value === "error" ? "" : $("by").value, letter: chosen });
}

function drawGroups({ groups: found, by, scanned, complete }) {
  if (!found.length) return null;
  const sorted = [...found].sort((a, b) => b.letters - a.letters);
  const most = sorted[0].letters;
  const field = { error: "error", tenant: "tenant" }[by[0]];
  const open = field && $(field) ? ({ names: [name] }) => {
    $(field).value = $(field).value === name ? "" : name;
    changed();
  } : undefined;
  return h("div", {}, table(`Dead letters by ${by.join(", ")}`, [
    { name: by[0][0].toUpperCase() + by[0].slice(1), head: true, kind: "name", cell: (one) => one.names.join(", ") || "unknown" },
    { name: "Letters", number: true, cell: (one) => count(one.letters) },
    { name: "", kind: "bars", cell: (one) => h("span", { class: "bar", width: `${(100 * one.letters) / most}%` }) },
    { name: "Oldest", number: true, cell: (one) => age(one.oldest_ms) },
    { name: "Newest", number: true, cell: (one) => age(one.newest_ms) },
  ], sorted, { open, chosen: ({ names }) => field && $(field)?.value === names[0] }),
  complete ? null : h("p", { class: "hint" }, `Of the first ${count(scanned)} letters; dia dlq stats counts all.`));
}

function drawLetters({ letters: found, next, total, first }) {
  if (!found.length) return null;
  return h("div", {}, table("Letters", [
    { name: "Failed (UTC)", head: true, cell: (one) => moment(one.failed_ms) },
    { name: "Error", cell: (one) => one.error_code },
    { name: "Message", kind: "message", cell: (one) => one.error_message },
    { name: "Tenant", kind: "name", cell: (one) => one.tenant || "unknown" },
    { name: "Size", number: true, cell: (one) => bytes(one.bytes) },
    { name: "Decided", cell: (one) => one.disposition },
  ], found, { open: (one) => show(one.place), chosen: (one) => one.place === chosen }),
  h("p", { class: "hint" }, total === null ? "In the order of the queue, oldest first: it is too long to sort."
    : `${count(first)} to ${count(first + found.length - 1)} of ${count(total)}, newest first.`),
  h("div", { class: "actions" },
    after.length ? h("button", { type: "button", onclick: () => { after.pop(); readLetters(); } }, "Back") : null,
    next ? h("button", { type: "button", onclick: () => { after.push(next); readLetters(); } }, "More") : null));
}

const readGroups = () => groups.show((signal) => get("/api/dlq/groups", { ...filters(), by: $("by").value }, signal),
  drawGroups, "No dead letter in this topic.");

const readLetters = () => list.show(
  (signal) => get("/api/dlq/letters", { ...filters(), limit: PAGE, after: after.at(-1) }, signal),
  drawLetters, "No dead letter meets these conditions.");

async function show(place) {
  chosen = place;
  remembered();
  $("letter-panel").hidden = false;
  const found = await detail.show((signal) => get("/api/dlq/letter", { place }, signal), sheet, "");
  if (found) $("letter-title").focus();
}

function read() {
  remembered();
  return Promise.all([readGroups(), readLetters()]);
}

function changed() {
  after = [];
  return read();
}

const again = () => Promise.all([readGroups(), readLetters()]);

$("letter-close").addEventListener("click", () => {
  chosen = "";
  $("letter-panel").hidden = true;
  remembered();
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", changed);

const one = (value) => (value ? [value] : []);
planning(() => {
  const { topic, error, tenant, since } = filters();
  return { topic, error: one(error), tenant: one(tenant), since: since || null };
}, again);

const wanted = state();
for (const id of [...FILTERS, "by"]) if (wanted.has(id)) $(id).value = wanted.get(id);
onAgain(read);
await Promise.all([
  wanted.has("letter") ? show(wanted.get("letter")) : null,
  read(),
  readPlans(again),
]);
start();
