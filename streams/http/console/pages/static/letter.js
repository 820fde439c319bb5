// One dead letter: where from, why, what is in it as text and as bytes, would it pass now.

import { facts, h, table, toned, when } from "./dom.js";
import { ZONE, bytes } from "./format.js";
import { traceOf } from "./message.js";
import { copying, decoded, headers, hex, tabs } from "./record.js";

const VERDICTS = { true: ["good", "would pass"], false: ["bad", "would still fail"], null: ["warn", "unknown"] };

function verdict(letter) {
  const [tone, text] = VERDICTS[String(letter.passes_now)];
  const why = letter.passes_now ? "" : `, ${letter.now.code}: ${letter.now.message}`;
  return toned(tone, text + why);
}

const decisions = (letter) => (letter.decisions.length ? table("Decisions", [
  { name: `When (${ZONE})`, head: true, cell: (one) => when(one.at_ms) },
  { name: "Decision", cell: (one) => one.disposition },
  { name: "By", cell: (one) => one.actor },
  { name: "Plan", cell: (one) => one.plan },
  { name: "Reason", kind: "name", cell: (one) => one.reason },
], letter.decisions) : h("p", { class: "hint" }, "No decisions yet."));

export function sheet(letter) {
  return h("div", {},
    facts([
      ["DLQ position", h("span", { class: "mono" }, `${letter.dlq}/${letter.partition}/${letter.offset}`)],
      ["Source record", h("span", { class: "mono" }, letter.id)],
      ["Failed", when(letter.failed_ms)],
      ["Why", `${letter.error_code}: ${letter.error_message}`],
      ["Field", letter.path && letter.path !== "$" ? `${letter.path} = ${JSON.stringify(letter.found)}` : ""],
      ["Would it pass now?", verdict(letter)],
      ["Tenant", letter.tenant],
      ["Stage", letter.stage],
      ["Agent", letter.agent],
      ["Replays", letter.hops ? String(letter.hops) : ""],
      ["Size", letter.hex_complete && letter.text !== null ? bytes(new Blob([letter.text]).size) : ""],
    ]),
    h("div", { class: "actions" }, traceOf(`${letter.dlq}/${letter.partition}/${letter.offset}`),
      copying("Copy link", () => location.href)),
    tabs({
      Decoded: () => decoded(letter),
      Bytes: () => hex(letter, "dia dlq export"),
      Headers: () => headers(letter),
      Decisions: () => decisions(letter),
    }));
}
