import { $, facts, h, table, when } from "../dom.js";
import { ZONE, measure } from "../format.js";
import { fresh, keep, onAgain, onOverview, start } from "../frame.js";
import { get, query } from "../api.js";
import { Panel } from "../panel.js";
import { sparkline } from "../spark.js";
import { remember, tenants, tenantsKnown } from "../tenant.js";

const models = new Panel($("models"));
const events = new Panel($("events"));

const best = (found) => h("table", {},
  h("caption", { class: "unseen" }, "Best of each metric"),
  h("thead", {}, h("tr", {}, ["Metric", "Highest", "Version", "Lowest", "Version"].map((name) =>
    h("th", { scope: "col" }, name)))),
  h("tbody", {}, Object.entries(found).map(([metric, one]) => h("tr", {},
    h("th", { scope: "row" }, metric), h("td", {}, measure(one.highest)), h("td", {}, one.highest_version),
    h("td", {}, measure(one.lowest)), h("td", {}, one.lowest_version)))));

const versions = (model) => table(`Versions of ${model.model}`, [
  { name: "Version", head: true, cell: (one) => one.version },
  { name: "Stage", cell: (one) => (one.stage ? h("span", { class: "tag" }, one.stage) : "") },
  { name: "Run", kind: "name", cell: (one) => one.run },
  { name: "Last seen", cell: (one) => when(one.last_seen_ms) },
], model.versions);

// Each metric over the versions in the order in which they completed, the champion named; newest events only.
function courses(model, found) {
  const done = found.filter((one) => one.model === model.model && one.event === "run_completed").sort((a, b) => a.ts_ms - b.ts_ms);
  const names = [...new Set(done.flatMap((one) => Object.keys(one.metrics)))].sort();
  if (done.length < 2 || !names.length) return null;
  const champion = done.findLast((one) => one.version === model.aliases.champion);
  const place = h("div");
  const draw = () => place.replaceChildren(compared(model, done, names, champion, ...picks.map((pick) => done[Number(pick.value)])));
  const pick = (label, chosen) => h("select", { "aria-label": `${label} run of ${model.model}`, onchange: () => draw() },
    done.map((one, at) => h("option", { value: String(at), selected: at === chosen }, `${one.version}, ${one.run}`)));
  const picks = [pick("First", 0), pick("Second", done.length - 1)];
  draw();
  return h("div", {}, h("p", { class: "actions" }, "Compare ", picks[0], " with ", picks[1]), place);
}

const difference = (a, b) => (a === undefined || b === undefined ? "" : `${b < a ? "" : "+"}${measure(b - a)}`);

function compared(model, done, names, champion, first, last) {
  return table(`Metrics of ${model.model} over versions`, [
    { name: "Metric", head: true, cell: (name) => name },
    { name: `${done[0].version} to ${done.at(-1).version}`, kind: "course", cell: (name) => sparkline(done.map((one) => one.metrics[name] ?? null), { cut: true }) ?? "" },
    { name: first.version, number: true, cell: (name) => measure(first.metrics[name]) },
    { name: last.version, number: true, cell: (name) => measure(last.metrics[name]) },
    { name: "Difference", number: true, cell: (name) => difference(first.metrics[name], last.metrics[name]) },
    { name: champion ? `Champion, ${champion.version}` : "Champion", number: true, cell: (name) => (champion ? measure(champion.metrics[name]) : "none") },
    { name: "", cell: () => (document.querySelector('nav a[href="/explore"]')
      ? h("a", { href: `/explore?${query({ tenant: $("tenant").value, model: model.model })}` }, "Live metrics") : "") },
  ], names);
}

const card = (model, found) => h("section", { class: "model" },
  h("h3", {}, model.model),
  Object.keys(model.aliases).length ? facts(Object.entries(model.aliases)) : h("p", { class: "hint" }, "No alias."),
  courses(model, found),
  h("div", { class: "columns" }, versions(model), Object.keys(model.best).length ? best(model.best) : null));

const happened = (found) => table("Events", [
  { name: `When (${ZONE})`, head: true, cell: (one) => when(one.ts_ms) },
  { name: "Model", kind: "name", cell: (one) => one.model },
  { name: "Event", cell: (one) => one.event.replaceAll("_", " ") },
  { name: "Version", cell: (one) => one.version },
  { name: "Alias or stage", cell: (one) => [one.alias, one.stage].filter(Boolean).join(", ") },
  { name: "Metrics", kind: "name", cell: (one) =>
    Object.entries(one.metrics).map(([name, value]) => `${name} ${measure(value)}`).join(", ") },
], found);

async function read() {
  const tenant = $("tenant").value;
  keep({ tenant });
  if (!tenant) {
    models.put(null, "No events yet, of any tenant.");
    events.put(null, "No events yet, of any tenant.");
    return;
  }
  const data = await models.show((signal) => get("/api/training", { tenant }, signal),
    (found) => { fresh(found); return found.models.length ? h("div", {}, found.models.map((one) => card(one, found.events))) : null; },
    `No models for ${tenant} yet. Send results to the topic train.results.`, { again: read });
  if (data) events.put(data.events.length ? happened(data.events) : null, "No model events yet.");
  else events.put(null, "Not read.");
}

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", () => { remember($("tenant").value); read(); });
const again = () => (tenantsKnown() ? read() : begin());
onAgain(again);

async function begin() {
  try {
    await tenants();
    await read();
  } catch (error) {
    models.fail(error, begin);
    events.put(null, "Not read.");
  }
}
await begin();
onOverview(again);
start();
