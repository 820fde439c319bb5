// One dead letter: where from, why, what is in it as text and as bytes, would it pass now.

import { facts, h, table } from "./dom.js";
import { bytes, moment } from "./format.js";

const VERDICTS = { true: ["good", "would pass"], false: ["bad", "would still fail"], null: ["warn", "unknown"] };

function verdict(letter) {
  const [tone, text] = VERDICTS[String(letter.passes_now)];
  const why = letter.passes_now ? "" : `, ${letter.now.code}: ${letter.now.message}`;
  return h("span", { class: `mark ${tone}` }, text + why);
}

const decoded = (letter) => (letter.text === null
  ? h("p", { class: "hint" }, "Not UTF-8: see the bytes.")
  : h("pre", { class: "wrapped" }, letter.json === null ? letter.text : JSON.stringify(letter.json, null, 2)));

const hex = (letter) => h("div", {},
  h("pre", { tabindex: "0" }, letter.hex.map(({ at, hex: found, text }) =>
    `${at.toString(16).padStart(6, "0")}  ${found.padEnd(47)}  ${text}`).join("\n") || "no byte"),
  letter.hex_complete ? null : h("p", { class: "hint" }, "The beginning only; dia dlq export has all of it."));

const headers = (letter) => (letter.headers.length ? table("Headers", [
  { name: "Header", head: true, kind: "name", cell: (one) => one.name },
  { name: "Value", kind: "name", cell: (one) => one.value ?? `base64 ${one.value_base64 ?? ""}` },
], letter.headers) : h("p", { class: "hint" }, "No header."));

const decisions = (letter) => (letter.decisions.length ? table("Decisions", [
  { name: "When (UTC)", head: true, cell: (one) => moment(one.at_ms) },
  { name: "Decision", cell: (one) => one.disposition },
  { name: "By", cell: (one) => one.actor },
  { name: "Plan", cell: (one) => one.plan },
  { name: "Reason", kind: "name", cell: (one) => one.reason },
], letter.decisions) : h("p", { class: "hint" }, "Nothing was decided of it yet."));

const VIEWS = { Decoded: decoded, Bytes: hex, Headers: headers, Decisions: decisions };

export function sheet(letter) {
  const view = h("div", { role: "tabpanel", "aria-label": "Decoded" });
  const tabs = Object.entries(VIEWS).map(([name, draw]) => h("button", {
    type: "button", role: "tab", "aria-selected": "false",
    onclick: (event) => {
      tabs.forEach((tab) => tab.setAttribute("aria-selected", String(tab === event.currentTarget)));
      view.setAttribute("aria-label", name);
      view.replaceChildren(draw(letter));
    },
  }, name));
  const shown = h("div", {},
    facts([
      ["Lies in", h("span", { class: "mono" }, `${letter.dlq}/${letter.partition}/${letter.offset}`)],
      ["Came from", h("span", { class: "mono" }, letter.id)],
      ["Failed", moment(letter.failed_ms)],
      ["Why", `${letter.error_code}: ${letter.error_message}`],
      ["Path", letter.path ? `${letter.path} = ${JSON.stringify(letter.found)}` : ""],
      ["Now", verdict(letter)],
      ["Tenant", letter.tenant],
      ["Stage", letter.stage],
      ["Agent", letter.agent],
      ["Replays", letter.hops ? String(letter.hops) : ""],
      ["Size", letter.hex_complete && letter.text !== null ? bytes(new Blob([letter.text]).size) : ""],
    ]),
    h("div", { class: "tabs", role: "tablist", "aria-label": "Ways to look at it" }, tabs), view);
  tabs[0].click();
  return shown;
}
