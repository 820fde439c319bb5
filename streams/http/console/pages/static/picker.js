// Names of which several are chosen: checkboxes in a `details.picker`, searched by text where there are many.

import { h } from "./dom.js";
import { count, visible } from "./format.js";

export const SEARCHED_FROM = 12;
export const SHOWN_MAX = 100;

export class Picker {
  // `many`: the word for several of them.
  constructor(box, many, changed) {
    this.box = box;
    this.many = many;
    this.changed = changed;
    this.known = [];
    this.chosen = [];
    this.most = 1;
    this.search = h("input", { type: "search", "aria-label": `Search ${many}`, placeholder: "Search", oninput: () => this.draw() });
    this.list = h("div");
    box.querySelector("fieldset").append(this.search, this.list);
  }

  // A picker in a field of its own, as the macro `picker` of the templates makes it.
  static field(id, label, many, changed) {
    const box = h("details", { class: "picker", id },
      h("summary", { "aria-labelledby": `${id}-label ${id}-names` }, h("span", { id: `${id}-names` }, "none")),
      h("fieldset", {}, h("legend", { class: "unseen" }, `${label} to show`)));
    const picker = new Picker(box, many, changed);
    picker.field = h("div", { class: "field" }, h("span", { class: "label", id: `${id}-label` }, label), box);
    return picker;
  }

  // `kept`: what is wanted stays, also where there is none of it: an address shows what it names, or nothing.
  fill(known, wanted, kept) {
    this.known = kept ? [...new Set([...wanted, ...known])] : known;
    const there = new Set(this.known);
    this.chosen = wanted.filter((name) => there.has(name)).slice(0, this.most);
    if (!this.chosen.length && this.known.length) this.chosen = [this.known[0]];
    this.search.value = "";
    this.draw();
  }

  // At most so many from now on; what is chosen beyond it is dropped.
  bound(most) {
    this.most = most;
    if (this.chosen.length > most) {
      this.chosen = this.chosen.slice(0, most);
      this.draw();
    } else this.mark();
  }

  draw() {
    const text = this.search.value.trim().toLowerCase();
    this.search.hidden = this.known.length < SEARCHED_FROM;
    const fitting = this.known.filter((name) => name.toLowerCase().includes(text));
    const shown = [...new Set([...this.chosen, ...fitting.slice(0, SHOWN_MAX)])];
    const left = fitting.length - SHOWN_MAX;
    this.list.replaceChildren(
      ...shown.map((name) => h("label", {}, h("input", { type: "checkbox", value: name, onchange: (event) => this.toggle(event.target) }), name)),
      ...(left > 0 ? [h("p", { class: "hint" }, `${count(left)} more: search for them.`)] : []));
    this.mark();
  }

  toggle(box) {
    this.chosen = box.checked ? [...this.chosen, box.value] : this.chosen.filter((name) => name !== box.value);
    this.mark();
    this.changed();
  }

  mark() {
    this.list.querySelectorAll("input").forEach((box) => {
      box.checked = this.chosen.includes(box.value);
      box.disabled = !box.checked && this.chosen.length >= this.most;
    });
    this.box.querySelector("summary span").textContent = this.chosen.length > 2 ? `${this.chosen.length} ${this.many}`
      : visible(this.chosen.join(", ")) || "none";
  }
}
