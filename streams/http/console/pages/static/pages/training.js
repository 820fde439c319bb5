import { $, facts, h, table } from "../dom.js";
import { measure, moment } from "../format.js";
import { fresh, keep, onAgain, onOverview, start } from "../frame.js";
import { get } from "../api.js";
import { Panel } from "../panel.js";
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
  { name: "Last seen", cell: (one) => moment(one.last_seen_ms) },
], model.versions);

const card = (model) => h("section", { class: "model" },
  h("h3", {}, model.model),
  Object.keys(model.aliases).length ? facts(Object.entries(model.aliases)) : h("p", { class: "hint" }, "No alias."),
  h("div", { class: "columns" }, versions(model), Object.keys(model.best).length ? best(model.best) : null));

const happened = (found) => table("Events", [
  { name: "When (UTC)", head: true, cell: (one) => moment(one.ts_ms) },
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
    models.put(null, "No event of any tenant has arrived yet.");
    events.put(null, "No event of any tenant has arrived yet.");
    return;
  }
  const data = await models.show((signal) => get("/api/training", { tenant }, signal),
    (found) => { fresh(found); return found.models.length ? h("div", {}, found.models.map(card)) : null; },
    `No models for ${tenant} yet. Send results to the topic train.results.`);
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
