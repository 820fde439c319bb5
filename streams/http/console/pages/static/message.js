// One message of a topic: where it is, what is in it, and sending it again.

import { facts, h, when } from "./dom.js";
import { ZONE, bytes } from "./format.js";
import { may, post, query } from "./api.js";
import { copying, decoded, headers, hex, tabs } from "./record.js";

export const linkTo = (place) => {
  const topic = place.slice(0, place.lastIndexOf("/", place.lastIndexOf("/") - 1));
  return `/messages?${query({ topic, message: place })}`;
};
export const traceOf = (id) => h("a", { class: "button", href: `/trace?${query({ id })}` }, "What became of it?");

function again(message) {
  const { allowed, text } = message.again;
  if (!allowed) return h("p", { class: "hint" }, text);
  if (!may("operate")) return h("p", { class: "hint" }, "Sending it again needs a token with the role operate.");
  const reason = h("input", { id: "again-reason", required: true, maxlength: "300", autocomplete: "off" });
  const send = h("button", { class: "primary" }, "Send it again");
  const said = h("p", { class: "said", role: "status" });
  const form = h("form", { class: "plan", onsubmit: async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      const sent = await post("/api/message/again", { place: message.place, reason: reason.value });
      said.className = "said good";
      said.textContent = `Sent to ${sent.topic}, partition ${sent.partition}.`;
    } catch (error) {
      send.disabled = false;
      said.className = "said bad";
      said.textContent = error.message;
    }
  } },
  h("p", { class: "hint" }, `This appends a copy to ${message.topic}. ${text}`),
  h("div", { class: "field" }, h("label", { for: "again-reason" }, "Reason, kept in the audit log"), reason),
  h("div", { class: "actions" }, send), said);
  return h("details", {}, h("summary", {}, "Send again"), form);
}

export function sheet(message) {
  const whole = `dia topics search ${message.topic} --partition ${message.partition} --from ${message.offset} --limit 1 --json`;
  const value = () => (message.json !== null ? JSON.stringify(message.json) : message.text ?? "");
  return h("div", {},
    facts([
      ["Place", h("span", { class: "mono" }, message.place)],
      [`Time (${ZONE})`, when(message.at_ms)],
      ["Key", message.key === null ? "none" : h("span", { class: "mono" }, message.key)],
      ["Tenant", message.tenant],
      ["Size", bytes(message.bytes)],
      ["Error", message.code],
      ["Refused", message.refusal],
    ]),
    h("div", { class: "actions" },
      message.again.allowed || message.code ? traceOf(message.place) : null,
      copying("Copy value", value),
      copying("Copy link", () => new URL(linkTo(message.place), location.href).href)),
    tabs({
      Decoded: () => decoded(message),
      Bytes: () => hex(message, whole),
      Headers: () => headers(message),
    }),
    again(message));
}
