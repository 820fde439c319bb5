import { $, facts, figures, h, table, toned, when } from "../dom.js";
import { ZONE, count, plural, seconds, visible } from "../format.js";
import { fresh, keep, onAgain, onOverview, start, state } from "../frame.js";
import { get, may, ownTenant, post } from "../api.js";
import { outcome } from "../outcome.js";
import { Panel } from "../panel.js";
import { remember, tenants, tenantsKnown } from "../tenant.js";

const FILTERS = ["status", "scenario", "key"];
const simulations = new Panel($("simulations"));
const waiting = new Panel($("waiting"));
let listed = null;
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
    $("cancel").closest("details").open = true;
    $("cancel").querySelector("button").focus();
  };
  const list = table("Requests without a result, oldest first", [
    { name: `Accepted (${ZONE})`, head: true, cell: (one) => when(one.accepted_ms) },
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
      ["Requested", when(one.requested_ms)], ["Finished", when(one.finished_ms)],
      ["Repeat", one.repeated ? "of a key that was answered before" : ""]]),
    outcome(one.summary),
    h("details", {}, h("summary", {}, "Summary as JSON"), h("pre", { tabindex: "0" }, JSON.stringify(one.summary, null, 2))));
}

function results(found) {
  const open = (one, line) => {
    const below = line.nextElementSibling;
    if (below?.dataset.more) below.remove();
    else line.after(h("tr", { "data-more": "1" }, h("td", { colspan: "7" }, summary(one))));
  };
  return table("Simulations", [
    { name: `Finished (${ZONE})`, head: true, cell: (one) => when(one.finished_ms) },
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
    waiting.put(null, "No events yet, of any tenant.");
    simulations.put(null, "No events yet, of any tenant.");
    return;
  }
  const data = await simulations.show((signal) => get("/api/simulations", { tenant, ...filters }, signal),
    (found) => { fresh(found); return found.simulations.length ? results(found.simulations) : null; },
    "No simulation of this kind has a result yet. Requests go to the topic decision.simulation.request.");
  queue(data?.queue ?? null);
  listed = data ?? null;
  estimate();
  if (data) drawWaiting(data.waiting);
  else waiting.put(null, "Not read.");
}

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", () => { remember($("tenant").value); read(); });

// By the middle of the listed results of the scenario; the queue is that of the known workers.
function estimate() {
  const scenario = $("ask-scenario").value;
  const trials = Number($("ask-trials").value);
  const each = (listed?.simulations ?? []).filter((one) => one.scenario === scenario && one.status === "completed" && !one.repeated)
    .map((one) => (one.finished_ms - one.started_ms) / 1000 / one.trials).sort((a, b) => a - b);
  const waiting = listed?.waiting ? `; ${plural(listed.waiting.requests.length, "request")} of this tenant ${listed.waiting.requests.length === 1 ? "waits" : "wait"} before it` : "";
  $("ask-cost").textContent = !each.length ? `Cost unknown: no completed ${scenario || "simulation"} is listed here${waiting}.`
    : `Takes about ${seconds(trials * each[Math.floor(each.length / 2)])} of one process, by ${plural(each.length, "earlier result")}${waiting}.`;
}

function say(said, tone, text) {
  said.className = `said ${tone}`;
  said.textContent = text;
}

// `body()` may throw; what the API says appears beside the form.
const sending = (form, path, body, done) => $(form).addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = $(`${form}-said`);
  try {
    const answer = await post(path, { ...body(), ...(ownTenant() ? {} : { tenant: $("tenant").value }) });
    say(said, "good", done(answer));
  } catch (error) {
    say(said, "bad", error.message);
  }
});

function asked() {
  const text = $("ask-parameters").value;
  let parameters = null;
  try {
    parameters = JSON.parse(text);
  } catch (error) {
    throw new Error(`Parameters are not JSON: ${error.message}`);
  }
  const key = $("ask-key").value.trim();
  return { model_id: $("ask-model").value.trim(), scenario: $("ask-scenario").value, parameters,
    trials: Number($("ask-trials").value), priority: Number($("ask-priority").value), ...(key ? { idempotency_key: key } : {}) };
}

sending("ask", "/api/simulations", asked, (answer) => `Asked: ${visible(answer.idempotency_key)}. Its result follows in the list.`);
sending("cancel", "/api/simulations/cancel", () => ({ idempotency_key: $("cancel-key").value, model_id: $("cancel-model").value }),
  (answer) => `Asked: ${visible(answer.request_id)}. Its result follows in the list.`);
$("ask").addEventListener("input", estimate);
if (!may("operate")) {
  for (const form of ["ask", "cancel"]) {
    $(form).querySelectorAll("button, input, textarea").forEach((control) => { control.disabled = true; });
    say($(`${form}-said`), "", "This needs a token with the role operate.");
  }
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
