// A repair made by fields: rows of "set, rename, copy, remove" become a JSON Patch (RFC 6902), which stays
// visible and may be edited. What it does to one letter is shown while it is made.

import { $, h, toned } from "./dom.js";
import { post } from "./api.js";
import { step } from "./steps.js";

const PREVIEW_AFTER_MS = 400;
const KINDS = { set: "set to", rename: "rename to", copy: "set from field", remove: "remove" };

// "labels.team" or "/labels/team" as a JSON Pointer. A name with a dot in it needs the second form.
export const pointer = (field) => (field.startsWith("/") ? field
  : `/${field.split(".").map((part) => part.replaceAll("~", "~0").replaceAll("/", "~1")).join("/")}`);

// 12, true, null, "12" and {"a": 1} are JSON; anything else is a text.
export function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const kindOf = (value) => (value === null ? "null" : Array.isArray(value) ? "list" : typeof value === "object" ? "object"
  : typeof value === "string" ? "text" : typeof value);

function operation({ kind, field, value }) {
  const path = pointer(field);
  if (kind === "remove") return { op: "remove", path };
  if (kind === "rename") return { op: "move", from: path, path: pointer(value) };
  if (kind === "copy") return { op: "copy", from: pointer(value), path };
  return { op: "add", path, value: valueOf(value) };
}

const complete = ({ kind, field, value }) => field !== "" && (kind === "set" || kind === "remove" || value !== "");

// `letter()`: the place of the letter to preview, or null; `topic()` its source.
export class Fixes {
  constructor(letter, topic) {
    this.letter = letter;
    this.topic = topic;
    this.waiting = null;
    this.asked = 0;
    $("fix-add").addEventListener("click", () => { this.add(); });
    $("patch").addEventListener("input", () => this.soon());
    this.add();
  }

  // Names of fields to choose from.
  offer(names) {
    $("fix-fields").replaceChildren(...names.map((name) => h("option", { value: name })));
  }

  add() {
    const changed = () => this.changed();
    const kind = h("select", { "aria-label": "What to do", onchange: changed },
      Object.entries(KINDS).map(([name, text]) => h("option", { value: name }, text)));
    const field = h("input", { "aria-label": "Field", list: "fix-fields", placeholder: "field", autocomplete: "off", spellcheck: "false", oninput: changed });
    const value = h("input", { "aria-label": "Value or other field", placeholder: "value", autocomplete: "off", spellcheck: "false", oninput: changed });
    const told = h("span", { class: "hint kind" });
    const row = h("div", { class: "fix" }, field, kind, value, told,
      h("button", { type: "button", class: "quiet", "aria-label": "Take this change out", onclick: () => { row.remove(); changed(); } }, "✕"));
    row.read = () => ({ kind: kind.value, field: field.value.trim(), value: value.value.trim() });
    row.tell = () => {
      value.hidden = kind.value === "remove";
      value.placeholder = kind.value === "set" ? "value" : "other field";
      if (kind.value === "set") value.removeAttribute("list");
      else value.setAttribute("list", "fix-fields");
      told.textContent = kind.value === "set" && value.value.trim() !== "" ? kindOf(valueOf(value.value.trim())) : "";
    };
    $("fix-rows").append(row);
    row.tell();
    return row;
  }

  changed() {
    const rows = [...$("fix-rows").children];
    rows.forEach((row) => row.tell());
    const made = rows.map((row) => row.read()).filter(complete).map(operation);
    $("patch").value = made.length ? JSON.stringify(made) : "";
    step(made.length ? "fix" : "choose");
    this.soon();
  }

  soon() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.preview(), PREVIEW_AFTER_MS);
  }

  async preview() {
    const place = this.letter();
    const text = $("patch").value.trim();
    this.asked += 1;
    const asked = this.asked;
    if (!text) { $("fix-preview").replaceChildren(); return; }
    if (!place) { this.say("hint", "Open a letter to see what the change makes of it."); return; }
    let patch;
    try {
      patch = JSON.parse(text);
    } catch (error) {
      this.say("bad", `The patch is not valid JSON: ${error.message}`);
      return;
    }
    try {
      const plan = await post("/api/dlq/plans", { topic: this.topic(), letters: [place], patch });
      if (asked === this.asked) this.draw(place, plan);
    } catch (error) {
      if (asked === this.asked) this.say("bad", error.message);
    }
  }

  draw(place, plan) {
    const passes = plan.errors.some((one) => one.passes > 0);
    const verdict = passes ? ["good", "would pass"] : plan.letters ? ["warn", "would be tried; whether it passes depends on its stage"]
      : ["bad", "would still fail"];
    $("fix-preview").replaceChildren(
      h("p", {}, toned(...verdict), ` ${place}`),
      ...plan.reasons.map((why) => h("p", { class: "hint" }, why)),
      ...(plan.differences.length ? [h("pre", { class: "wrapped", tabindex: "0" }, plan.differences[0])] : []));
  }

  say(tone, text) {
    $("fix-preview").replaceChildren(h("p", { class: tone }, text));
  }
}
