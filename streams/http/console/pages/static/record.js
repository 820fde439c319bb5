// The parts of a record that every page shows alike: value, bytes, headers, and tabs to choose among them.

import { h, table } from "./dom.js";

export const decoded = (record) => {
  if (record.json !== null && record.json !== undefined) {
    return h("pre", { class: "wrapped", tabindex: "0" }, JSON.stringify(record.json, null, 2));
  }
  if (record.text === null) return h("p", { class: "hint" }, "Not UTF-8: see the bytes.");
  return h("pre", { class: "wrapped", tabindex: "0" }, record.text);
};

export const hex = (record, whole) => h("div", {},
  h("pre", { tabindex: "0" }, record.hex.map(({ at, hex: found, text }) =>
    `${at.toString(16).padStart(6, "0")}  ${found.padEnd(47)}  ${text}`).join("\n") || "no byte"),
  record.hex_complete ? null : h("p", { class: "hint" }, `The beginning only; ${whole} has all of it.`));

export const headers = (record) => (record.headers.length ? table("Headers", [
  { name: "Header", head: true, kind: "name", cell: (one) => one.name },
  { name: "Value", kind: "name", cell: (one) => one.value ?? `base64 ${one.value_base64 ?? ""}` },
], record.headers) : h("p", { class: "hint" }, "No header."));

// `views`: a function for each tab's name. The first one is open.
export function tabs(views) {
  const view = h("div", { role: "tabpanel" });
  const buttons = Object.entries(views).map(([name, draw]) => h("button", {
    type: "button", role: "tab", "aria-selected": "false",
    onclick: (event) => {
      buttons.forEach((tab) => tab.setAttribute("aria-selected", String(tab === event.currentTarget)));
      view.setAttribute("aria-label", name);
      view.replaceChildren(draw());
    },
  }, name));
  buttons[0].click();
  return [h("div", { class: "tabs", role: "tablist", "aria-label": "Ways to look at it" }, buttons), view];
}

// A button that copies text. Browsers offer the clipboard to secure pages only: elsewhere there is no button.
export function copying(label, text) {
  if (!navigator.clipboard) return null;
  const button = h("button", { type: "button", onclick: async () => {
    await navigator.clipboard.writeText(text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  } }, label);
  return button;
}
