// Parking and discarding: of the selected letters, or of all that meet the filters.

import { $, h } from "./dom.js";
import { plural } from "./format.js";
import { may, post } from "./api.js";

const SAYS = {
  park: "Plans leave parked letters out. Copies go to the parking topic, for manual review.",
  discard: "Discarded letters stay in the DLQ, and can never be replayed.",
};

// `chosen()` gives {letters, count, ...filters}; count null: too many to count. `again()` runs after a decision.
export function deciding(chosen, again) {
  for (const decision of ["park", "discard"]) {
    const button = $(decision);
    if (!may("operate")) { button.disabled = true; continue; }
    button.addEventListener("click", () => ask(decision, chosen(), again));
  }
}

function ask(decision, { count, ...body }, again) {
  const form = $("decision");
  if (!count) {
    form.replaceChildren(h("p", { class: "hint" }, count === null
      ? `This queue is too long to count here: select letters, or run dia dlq ${decision}.` : "No letters to decide on."));
    return;
  }
  const reason = h("input", { id: "decision-reason", required: true, maxlength: "300", autocomplete: "off" });
  const run = h("button", { class: "primary" }, `${decision === "park" ? "Park" : "Discard"} ${plural(count, "letter")}`);
  const said = h("p", { role: "status" });
  const asked = h("form", { class: "plan", onsubmit: async (event) => {
    event.preventDefault();
    run.disabled = true;
    try {
      const done = await post("/api/dlq/decisions", { ...body, decision, reason: reason.value, expected: count });
      form.replaceChildren(h("p", { class: "good", role: "status" },
        `${plural(done.decided, "letter")} decided${done.unchanged ? `, ${done.unchanged} as before` : ""}.`));
      again();
    } catch (error) {
      run.disabled = false;
      said.className = "bad";
      said.textContent = error.message;
    }
  } },
  h("p", { class: "hint" }, SAYS[decision]),
  h("div", { class: "field" }, h("label", { for: "decision-reason" }, "Reason, kept in the journal"), reason),
  h("div", { class: "actions" }, run, h("button", { type: "button", onclick: () => form.replaceChildren() }, "Dismiss")), said);
  form.replaceChildren(asked);
  reason.focus();
}
