// Records given up, old or unreadable: from a plan that changes nothing to an order, and what became of it.

import { $, fill, h, table, when } from "./dom.js";
import { ZONE, count } from "./format.js";
import { get, may, post } from "./api.js";
import { Panel } from "./panel.js";

const draft = new Panel($("shed-draft"));
const orders = new Panel($("orders"));
const MEANINGS = {
  waiting: "The group has not reached its end yet.",
  done: "The group is past its end. Records that a worker had read before the order were processed, not skipped: the table shed_ranges names what was skipped.",
  withdrawn: "It was cancelled.",
  void: "The partition was reset after the order.",
};
const TONES = { done: "good", waiting: "warn", withdrawn: "muted", void: "muted" };
const NOTHING = "Nothing skipped yet.";

let waiting = false;
let topics = { age: [], all: [] };

const planned = (found) => table("What would be skipped, by partition", [
  { name: "Partition", head: true, number: true, cell: (one) => String(one.partition) },
  { name: "Lag", number: true, cell: (one) => count(one.lag) },
  { name: `Oldest (${ZONE})`, cell: (one) => when(one.oldest_ms) },
  { name: "From offset", number: true, cell: (one) => count(one.from_offset) },
  { name: "To, exclusive", number: true, cell: (one) => count(one.to_offset) },
  { name: "Skipped", number: true, cell: (one) => count(one.shed) },
  { name: "Left", number: true, cell: (one) => count(one.lag - one.shed) },
], found);

function drawDraft(plan) {
  const sentences = plan.consequences.map((text) => h("p", { class: "hint" }, text));
  const drop = h("button", { type: "button", onclick: () => { $("shed-draft-panel").hidden = true; } }, "Dismiss");
  if (!plan.shed) {
    const nothing = plan.before_ms === null ? "Every unread record can be opened." : "No unread record is that old.";
    return h("div", {}, sentences, h("p", { class: "state" }, nothing),
      h("div", { class: "actions" }, drop));
  }
  const reason = h("input", { id: "shed-reason", required: true, maxlength: "300", autocomplete: "off" });
  const order = h("button", { class: "primary" }, `Skip ${count(plan.shed)} offsets`);
  const form = h("form", {
    onsubmit: (event) => { event.preventDefault(); give(plan, reason.value, order); },
  },
  h("div", { class: "field" }, h("label", { for: "shed-reason" }, "Why, for the audit"), reason),
  h("div", { class: "actions" }, order, drop));
  return h("div", {}, planned(plan.partitions.filter((one) => one.shed)), sentences, form);
}

async function give(plan, reason, button) {
  button.disabled = true;
  try {
    const what = plan.before_ms === null ? { unreadable: true } : { before: String(plan.before_ms / 1000) };
    await post("/api/shed/orders", { topic: plan.topic, ...what, reason });
    $("shed-draft-panel").hidden = true;
    await readOrders();
  } catch (error) {
    button.disabled = false;
    draft.element.append(h("p", { class: "bad", role: "alert" }, error.message));
  }
}

function takeBack(one) {
  if (one.state !== "waiting") return null;
  const button = h("button", { type: "button", title: `All orders for ${one.topic} that wait` }, "Cancel");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await post("/api/shed/withdraw", { topic: one.topic });
      await readOrders();
    } catch (error) {
      button.disabled = false;
      button.after(h("span", { class: "bad", role: "alert" }, error.message));
    }
  });
  return button;
}

const listed = (found) => table("Orders", [
  { name: "Partition", head: true, kind: "name", cell: (one) => `${one.topic}/${one.partition}` },
  { name: "State", cell: (one) => h("span", { class: `mark ${TONES[one.state]}`, title: MEANINGS[one.state] }, one.state) },
  { name: "Skip up to", number: true, cell: (one) => count(one.to_offset) },
  { name: "Reached", number: true, cell: (one) => count(one.reached) },
  { name: "By", cell: (one) => one.actor },
  { name: `At (${ZONE})`, cell: (one) => when(one.at_ms) },
  { name: "Why", kind: "name", cell: (one) => one.reason },
  { name: "", cell: takeBack },
], found);

export async function readOrders() {
  const found = await orders.show((signal) => get("/api/shed/orders", {}, signal),
    (data) => (data.orders.length ? listed(data.orders) : null), NOTHING);
  if (!found) return;
  waiting = found.orders.some((one) => one.state === "waiting");
  topics = { age: found.topics, all: found.sources };
  if (!$("shed-topic").options.length) offerTopics();
}

function offerTopics() {
  const unreadable = $("shed-unreadable").checked;
  const offered = unreadable ? topics.all : topics.age;
  const before = $("shed-topic").value;
  fill($("shed-topic"), offered, offered.includes(before) ? before : offered[0]);
  $("shed-before").disabled = unreadable;
}

// The pipeline has moved: what waits may be done.
export const moved = () => { if (waiting) readOrders(); };

export function shedding() {
  if (!may("admin")) {
    $("shed").querySelectorAll("button, input, select").forEach((control) => { control.disabled = true; });
    orders.put(null, "This needs an admin token that is bound to no tenant.");
    return;
  }
  $("shed").addEventListener("submit", (event) => {
    event.preventDefault();
    $("shed-draft-panel").hidden = false;
    const what = $("shed-unreadable").checked ? { unreadable: true } : { before: $("shed-before").value.trim() };
    const asked = { topic: $("shed-topic").value, ...what };
    draft.show(async () => post("/api/shed/plan", asked), drawDraft, "");
    $("shed-draft-panel").scrollIntoView({ block: "nearest" });
  });
  $("shed-unreadable").addEventListener("change", offerTopics);
  readOrders();
}
