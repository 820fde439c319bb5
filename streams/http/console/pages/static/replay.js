// From letters to a plan, to its difference, to a run that is watched.

import { $, facts, h, table, toned } from "./dom.js";
import { age, count, moment, plural } from "./format.js";
import { Problem, get, may, post } from "./api.js";
import { Panel } from "./panel.js";
import { watch } from "./frame.js";
import { step } from "./steps.js";

const draft = new Panel($("draft"));
const plans = new Panel($("plans"));
const streams = new Map();
let whenOver = () => {};
const DIFFERENCES_SHOWN = 20;

const needed = "This needs a token with the role operate.";
const words = (reasons) => Object.entries(reasons).map(([why, n]) => `${why.replaceAll("_", " ")} ${count(n)}`).join(", ");

const outlook = (plan) => table("What the plan does, by error", [
  { name: "Error", head: true, cell: (one) => one.error },
  { name: "Letters", number: true, cell: (one) => count(one.letters) },
  { name: "Would pass now", number: true, cell: (one) => count(one.passes) },
  { name: "To replay", number: true, cell: (one) => count(one.replay) },
  { name: "To park", number: true, cell: (one) => count(one.park) },
  { name: "Left", kind: "name", cell: (one) => words(one.excluded ?? {}) },
], plan.errors);

function differences({ differences: found, letters }) {
  if (!found.length) return h("p", { class: "hint" }, "The records are replayed unchanged.");
  const shown = found.slice(0, DIFFERENCES_SHOWN);
  return h("details", { open: true },
    h("summary", {}, `Differences, ${count(shown.length)} of ${plural(letters, "letter")}`),
    h("pre", { class: "wrapped", tabindex: "0" }, shown.join("\n\n")));
}

function drawDraft(plan) {
  const run = h("button", { type: "button", class: "primary", onclick: () => submit(plan, run) },
    `Replay ${plural(plan.letters, "letter")}`);
  const drop = h("button", { type: "button", onclick: () => { $("draft-panel").hidden = true; } }, "Dismiss");
  return h("div", {},
    facts([
      ["Plan", plan.plan && h("span", { class: "mono" }, plan.plan)],
      ["Letters", `${count(plan.letters)} of ${count(plan.scanned)} looked at`],
      ["Left behind", words(plan.behind)],
      ["Kept until", plan.kept_until_ms && moment(plan.kept_until_ms)],
    ]),
    plan.errors.length ? outlook(plan) : null,
    plan.reasons.length ? h("div", {}, h("h3", {}, "Why letters stay"), plan.reasons.map((why) => h("p", { class: "hint" }, why))) : null,
    plan.plan ? differences(plan) : h("p", { class: "state" }, "Nothing to replay: none of these letters would pass now."),
    h("div", { class: "actions" }, plan.plan ? run : null, drop,
      h("span", { class: "hint" }, plan.plan ? "Runs in a worker with the replay agent, each letter exactly once." : "")));
}

async function submit(plan, button) {
  button.disabled = true;
  try {
    const progress = await post(`/api/dlq/plans/${encodeURIComponent(plan.plan)}/submit`);
    $("draft-panel").hidden = true;
    step("run");
    await readPlans();
    follow(progress.plan);
    $("plans").closest("section").scrollIntoView({ block: "nearest" });
  } catch (error) {
    button.disabled = false;
    draft.element.append(h("p", { class: "bad", role: "alert" }, error.message));
  }
}

// What is to become of the letters. Throws `Problem` for a patch that is not valid JSON.
function terms() {
  const limit = $("limit").value;
  const patch = $("patch")?.value.trim();
  const found = { on_failure: $("on-failure").value, limit: limit ? Number(limit) : null };
  if (!patch) return found;
  try {
    return { ...found, patch: JSON.parse(patch) };
  } catch (error) {
    throw new Problem(400, { code: "unreadable", detail: `The patch is not valid JSON: ${error.message}` });
  }
}

// Makes a plan of what `filters()` says; `again()` runs when a replay has ended, whichever part of the page
// follows it.
export function planning(filters, again) {
  whenOver = again;
  if (!may("operate")) {
    $("plan").querySelectorAll("button, input, select").forEach((control) => { control.disabled = true; });
    $("plan").append(h("p", { class: "hint" }, needed));
    return;
  }
  $("plan").addEventListener("submit", (event) => {
    event.preventDefault();
    $("draft-panel").hidden = false;
    step("preview");
    draft.show(async () => post("/api/dlq/plans", { ...filters(), ...terms() }), drawDraft, "");
    $("draft-panel").scrollIntoView({ block: "nearest" });
  });
}

const OVER = new Set(["finished", "cancelled"]);
const TONES = { finished: "good", running: "", entered: "", paused: "warn", stopped: "bad", cancelled: "muted" };

function command(plan, word) {
  const button = h("button", { type: "button", disabled: !may("operate"), title: may("operate") ? null : needed }, word);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      update(await post(`/api/dlq/plans/${encodeURIComponent(plan.plan)}/${word}`, { reason: "" }));
      if (word === "resume") follow(plan.plan);
    } catch (error) {
      button.disabled = false;
      button.after(h("span", { class: "bad", role: "alert" }, error.message));
    }
  });
  return button;
}

const controls = (plan) => {
  if (OVER.has(plan.state)) return null;
  const first = plan.state === "paused" || plan.state === "stopped" ? "resume" : "pause";
  return h("span", { class: "actions" }, command(plan, first), command(plan, "cancel"));
};

const COLUMNS = [
  { name: "Plan", head: true, kind: "mono", cell: (one) => one.plan },
  { name: "Topic", kind: "name", cell: (one) => one.topic },
  { name: "State", cell: (one) => toned(TONES[one.state] ?? "", one.state) },
  { name: "Progress", cell: (one) => h("progress", { max: String(Math.max(1, one.letters)),
    value: String(one.letters - one.to_go), "aria-label": `Progress of ${one.plan}` }) },
  { name: "Replayed", number: true, cell: (one) => `${count(one.replayed)} of ${count(one.letters)}` },
  { name: "Parked", number: true, cell: (one) => count(one.parked) },
  { name: "Left", number: true, cell: (one) => count(one.left) },
  { name: "By", cell: (one) => one.by },
  { name: "", cell: controls },
];

const row = (plan) => document.querySelector(`#plans tr[data-plan="${CSS.escape(plan)}"]`);

function drawPlans(found) {
  const drawn = table("Replays", COLUMNS, found);
  drawn.querySelectorAll("tbody tr").forEach((line, at) => line.setAttribute("data-plan", found[at].plan));
  return drawn;
}

function update(progress) {
  const line = row(progress.plan);
  if (!line) { readPlans(); return; }
  const drawn = drawPlans([progress]).querySelector("tbody tr");
  line.replaceWith(drawn);
  const waiting = progress.state === "entered" && Date.now() - progress.began_ms > 10_000;
  if (waiting) {
    drawn.lastElementChild.append(h("p", { class: "hint" },
      `No worker has taken it for ${age(progress.began_ms)}: start dia worker --agents replay`));
  }
}

function follow(plan) {
  if (streams.has(plan)) return;
  streams.set(plan, watch(`/live/plans/${encodeURIComponent(plan)}`, (progress) => {
    update(progress);
    if (!OVER.has(progress.state) && progress.state !== "stopped" && progress.state !== "paused") return;
    streams.get(plan)?.close();
    streams.delete(plan);
    step("result");
    $("outcome").textContent = `The replay is ${progress.state}: ${count(progress.replayed)} of ${plural(progress.letters, "letter")} replayed, ${
      count(progress.parked)} parked, ${count(progress.left)} left.`;
    whenOver();
  }));
}

export async function readPlans() {
  const data = await plans.show((signal) => get("/api/dlq/plans", {}, signal),
    (found) => (found.plans.length ? drawPlans(found.plans) : null), "No replays yet.");
  for (const plan of data?.plans ?? []) {
    if (plan.state === "entered" || plan.state === "running") follow(plan.plan);
  }
}
