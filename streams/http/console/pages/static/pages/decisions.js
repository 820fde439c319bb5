import { $, facts, figures, h, table, toned } from "../dom.js";
import { count, moment, seconds, visible } from "../format.js";
import { fresh, keep, onAgain, onOverview, start, state } from "../frame.js";
import { get, may, ownTenant, post } from "../api.js";
import { Panel } from "../panel.js";
import { remember, tenants, tenantsKnown } from "../tenant.js";

const FILTERS = ["status", "scenario", "key"];
const simulations = new Panel($("simulations"));
const waiting = new Panel($("waiting"));
const TONES = { completed: "good", rejected: "warn", failed: "bad", cancelled: "muted" };

function queue(found) {
  const figure = (name, value, aside) => ({ name, value: found ? count(value) : "unknown", aside });
  figures($("queue"), [
    figure("Waiting, high priority", found?.high, "priority 5 to 9"),
    figure("Waiting, normal", found?.normal, "priority 0 to 4"),
    figure("Running", found?.running, found ? "on the workers that are known" : "no worker reports its queue"),
  ]);
}

// One that is chosen is put into the form that cancels.
function requests(found) {
  const open = (one) => {
    $("cancel-key").value = one.idempotency_key;
    $("cancel-model").value = one.model;
    $("cancel").querySelector("button").focus();
  };
  const list = table("Requests without a result, oldest first", [
    { name: "Accepted (UTC)", head: true, cell: (one) => moment(one.accepted_ms) },
    { name: "Key", kind: "name", cell: (one) => one.idempotency_key },
    { name: "Model", kind: "name", cell: (one) => one.model },
    { name: "Scenario", cell: (one) => one.scenario },
    { name: "Priority", number: true, cell: (one) => String(one.priority) },
    { name: "Trials", number: true, cell: (one) => count(one.trials) },
  ], found.requests, { open });
  return h("div", {}, list, found.complete ? null
    : h("p", { class: "hint" }, "More wait than are listed here."));
}

function drawWaiting(found) {
  if (!found) waiting.put(null, "Kafka, which knows them, does not answer.");
  else waiting.put(found.requests.length ? requests(found) : null, "Every request has its result.");
}

function summary(one) {
  return h("div", {},
    one.error ? h("p", { class: "bad" }, `${one.error.code}: ${one.error.message}`) : null,
    facts([["Request", one.request_id], ["Policy", one.policy], ["Trials", count(one.trials)],
      ["Requested", moment(one.requested_ms)], ["Finished", moment(one.finished_ms)],
      ["Repeat", one.repeated ? "of a key that was answered before" : ""]]),
    h("pre", {}, JSON.stringify(one.summary, null, 2)));
}

function results(found) {
  const open = (one, line) => {
    const below = line.nextElementSibling;
    if (below?.dataset.more) below.remove();
    else line.after(h("tr", { "data-more": "1" }, h("td", { colspan: "7" }, summary(one))));
  };
  return table("Simulations", [
    { name: "Finished (UTC)", head: true, cell: (one) => moment(one.finished_ms) },
    { name: "Key", kind: "name", cell: (one) => one.idempotency_key },
    { name: "Model", kind: "name", cell: (one) => one.model },
    { name: "Scenario", cell: (one) => one.scenario },
    { name: "Priority", number: true, cell: (one) => String(one.priority) },
    { name: "Status", cell: (one) => toned(TONES[one.status] ?? "", one.repeated ? `${one.status}, repeated` : one.status) },
    { name: "Took", number: true, cell: (one) => seconds(Math.max(0, one.finished_ms - one.started_ms) / 1000) },
  ], found, { open });
}

async function read() {
  const tenant = $("tenant").value;
  const filters = Object.fromEntries(FILTERS.map((id) => [id, $(id).value.trim()]));
  keep({ tenant, ...filters });
  if (!tenant) {
    queue(null);
    waiting.put(null, "No event of any tenant has arrived yet.");
    simulations.put(null, "No event of any tenant has arrived yet.");
    return;
  }
  const data = await simulations.show((signal) => get("/api/simulations", { tenant, ...filters }, signal),
    (found) => { fresh(found); return found.simulations.length ? results(found.simulations) : null; },
    "No simulation of this kind has a result yet. Requests go to the topic decision.simulation.request.");
  queue(data?.queue ?? null);
  if (data) drawWaiting(data.waiting);
  else waiting.put(null, "Not read.");
}

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", () => { remember($("tenant").value); read(); });

$("cancel").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { idempotency_key: $("cancel-key").value, model_id: $("cancel-model").value };
  if (!ownTenant()) body.tenant = $("tenant").value;
  const said = $("cancel-said");
  try {
    const answer = await post("/api/simulations/cancel", body);
    said.className = "said good";
    said.textContent = `Asked: ${visible(answer.request_id)}. Its result follows in the list.`;
  } catch (error) {
    said.className = "said bad";
    said.textContent = error.message;
  }
});
if (!may("operate")) {
  $("cancel").querySelectorAll("button, input").forEach((control) => { control.disabled = true; });
  $("cancel-said").textContent = "This needs a token with the role operate.";
}

const again = () => (tenantsKnown() ? read() : begin());

async function begin() {
  const wanted = state();
  for (const id of FILTERS) $(id).value = wanted.get(id) ?? "";
  try {
    await tenants();
    await read();
  } catch (error) {
    queue(null);
    simulations.fail(error, begin);
    waiting.fail(error, begin);
  }
}
onAgain(again);
await begin();
onOverview(again);
start();
