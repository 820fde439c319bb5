import { $, h, table, unmark, when } from "../dom.js";
import { deciding } from "../decide.js";
import { Fixes } from "../fixes.js";
import { ZONE, age, bytes, count, plural } from "../format.js";
import { keep, onAgain, start, state } from "../frame.js";
import { get, may, ownTenant } from "../api.js";
import { sheet } from "../letter.js";
import { Panel } from "../panel.js";
import { planning, readPlans } from "../replay.js";
import { sparkline } from "../spark.js";
import { step } from "../steps.js";

const PAGE = 50;
const FILTERS = ["topic", "error", "path", "agent", ...(ownTenant() ? [] : ["tenant"]), "since"];
const groups = new Panel($("groups"));
const list = new Panel($("letters"));
const detail = new Panel($("letter"));
let chosen = "";
let after = [];
let listed = { letters: [], total: 0 };
const picked = new Set();

const filters = () => Object.fromEntries(FILTERS.map((id) => [id, $(id).value.trim()]));

function remembered() {
  const { topic, ...rest } = filters();
  keep({ topic: $("topic").selectedIndex ? topic : "", ...rest, by: $("by").value === "error" ? "" : $("by").value, letter: chosen });
}

// Letters of one cause: the error, the field that it names, and the agent that refused them.
const CAUSE = ["error", "path", "agent"];
const NO_PATH = "none";
const HEADS = { error: "Error", path: "Field", agent: "Agent" };
const groupedBy = () => ($("by").value === "error" ? CAUSE : [$("by").value]);

function drawGroups({ groups: found, by, scanned, complete }) {
  if (!found.length) return null;
  // A group is all that its names say: what is decided of its letters must not reach those of another cause.
  const wanted = ({ names }) => by.map((name, at) => [$(name), names[at] || (name === "path" ? NO_PATH : "unknown")]);
  const chosen = (one) => wanted(one).every(([input, name]) => input.value === name);
  const open = by.every((name) => FILTERS.includes(name)) ? (one) => {
    const clear = chosen(one);
    for (const [input, name] of wanted(one)) input.value = clear ? "" : name;
    changed();
  } : undefined;
  return h("div", {}, table(`Dead letters by ${by.join(", ")}`, [
    ...by.map((name, at) => ({ name: HEADS[name] ?? name[0].toUpperCase() + name.slice(1), head: at === 0, kind: "name",
      cell: (one) => one.names[at] || (name === "path" ? "–" : "unknown") })),
    { name: "Letters", number: true, cell: (one) => count(one.letters) },
    { name: "Tenants", number: true, cell: (one) => `${count(one.tenants)}${one.tenants_more ? "+" : ""}` },
    { name: "Last 24 h", kind: "course", cell: (one) => sparkline(one.hours) ?? "" },
    { name: "First", number: true, title: "Time since the oldest letter failed", cell: (one) => `${age(one.oldest_ms)} ago` },
    { name: "Last", number: true, title: "Time since the newest letter failed", cell: (one) => `${age(one.newest_ms)} ago` },
    { name: "", cell: (one) => h("button", { type: "button", class: "quiet", "aria-label": `Newest letter of ${one.names.join(", ")}`,
      onclick: (event) => { event.stopPropagation(); show(one.sample); } }, "Sample") },
  ], found, { open, chosen: open && chosen }),
  complete ? null : h("p", { class: "hint" }, `Of the first ${count(scanned)} letters; dia dlq stats counts all.`));
}

// What the buttons are about: the selected letters, or all that match the filters.
function scoped() {
  const { topic, error, path, agent, tenant, since } = filters();
  const meant = { topic, error: one(error), path: one(path), agent: one(agent), tenant: one(tenant), since: since || null };
  return picked.size ? { topic, letters: [...picked], count: picked.size } : { ...meant, count: listed.total };
}

function tellScope() {
  const { total } = listed;
  $("scope").textContent = picked.size ? `${plural(picked.size, "selected letter")}.`
    : total === null ? "All letters that match the filters." : `${plural(total, "letter")} that match${total === 1 ? "es" : ""} the filters. Select rows for fewer.`;
}

function pick(place, on) {
  if (on) picked.add(place);
  else picked.delete(place);
  tellScope();
  step("choose");
}

const ticked = (place) => h("input", { type: "checkbox", "aria-label": `Select ${place}`, checked: picked.has(place),
  onclick: (event) => event.stopPropagation(), onchange: (event) => pick(place, event.target.checked) });

function drawLetters(answer) {
  const { letters: found, next, total, first } = answer;
  listed = answer;
  tellScope();
  if (!found.length) return null;
  return h("div", {}, table("Letters", [
    ...(may("operate") ? [{ name: "", kind: "pick", cell: (one) => ticked(one.place) }] : []),
    { name: `Failed (${ZONE})`, head: true, cell: (one) => when(one.failed_ms) },
    { name: "State", cell: (one) => one.disposition },
    { name: "Error", cell: (one) => one.error_code },
    { name: "Message", kind: "message", cell: (one) => one.error_message },
    { name: "Tenant", kind: "name", cell: (one) => one.tenant || "unknown" },
    { name: "Size", number: true, cell: (one) => bytes(one.bytes) },
  ], found, { open: (one) => show(one.place), chosen: (one) => one.place === chosen }),
  h("p", { class: "hint" }, total === null ? "In the order of the queue, oldest first: it is too long to sort."
    : `${count(first)} to ${count(first + found.length - 1)} of ${count(total)}, newest first.`),
  h("div", { class: "actions" },
    after.length ? h("button", { type: "button", onclick: () => { after.pop(); readLetters(); } }, "Back") : null,
    next ? h("button", { type: "button", onclick: () => { after.push(next); readLetters(); } }, "More") : null));
}

const readGroups = () => groups.show((signal) => get("/api/dlq/groups", { ...filters(), by: groupedBy() }, signal),
  drawGroups, "No dead letter in this topic.");

const readLetters = () => list.show(
  (signal) => get("/api/dlq/letters", { ...filters(), limit: PAGE, after: after.at(-1) }, signal),
  drawLetters, "No dead letter matches the filters.");

async function show(place) {
  chosen = place;
  remembered();
  $("letter-panel").hidden = false;
  const found = await detail.show((signal) => get("/api/dlq/letter", { place }, signal), sheet, "");
  if (!found) return;
  fixes?.offer(found.json && typeof found.json === "object" ? Object.keys(found.json) : []);
  fixes?.soon();
  $("letter-title").focus();
}

const again = () => Promise.all([readGroups(), readLetters()]);

function read() {
  remembered();
  return again();
}

function changed() {
  after = [];
  picked.clear();
  step("choose");
  return read();
}

$("letter-close").addEventListener("click", () => {
  chosen = "";
  unmark("letters");
  $("letter-panel").hidden = true;
  remembered();
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", changed);

const one = (value) => (value ? [value] : []);
// The form is there for admins, since a changed record may name any tenant.
const fixes = $("patch") ? new Fixes(() => chosen || listed.letters[0]?.place || null, () => filters().topic) : null;
const decided = () => { picked.clear(); return again(); };
planning(() => {
  const { count: _, ...asked } = scoped();
  return asked;
}, decided);
deciding(scoped, decided);

const wanted = state();
for (const id of [...FILTERS, "by"]) if (wanted.has(id)) $(id).value = wanted.get(id);
onAgain(read);
await Promise.all([
  wanted.has("letter") ? show(wanted.get("letter")) : null,
  read(),
  readPlans(),
]);
start();
