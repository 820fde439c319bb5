// Elements as expressions. Text goes in as text nodes only: nothing a record holds can become markup.

import { age, elsewhere, moment, visible } from "./format.js";

export const $ = (id) => document.getElementById(id);

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "width") element.style.inlineSize = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity)
    .filter((child) => child !== null && child !== undefined)
    .map((child) => (typeof child === "string" ? visible(child) : child)));
  return element;
}

// An element of SVG.
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A moment; on hover the same in the other of UTC and local time, and how long ago it was.
export const when = (ms) => (ms ? h("time", { datetime: new Date(ms).toISOString(), title: `${elsewhere(ms)}, ${age(ms)} ago` }, moment(ms)) : "");

// A state as a word in its colour: good, warn, bad, muted, or "" for none.
export const toned = (tone, text) => h("span", { class: `mark ${tone}` }, text);

// The row that is open, until its table is drawn again.
function mark(line) {
  line.parentElement.querySelectorAll("tr.chosen").forEach((other) => other.classList.remove("chosen"));
  line.classList.add("chosen");
}
export const unmark = (id) => $(id).querySelectorAll("tr.chosen").forEach((line) => line.classList.remove("chosen"));

// `columns`: {name, cell(row), number?, kind?, head?, title?}. A cell is text or elements; `open(row, line)` makes
// rows choosable by mouse and keyboard.
export function table(caption, columns, rows, { open, chosen } = {}) {
  const body = rows.map((row) => {
    const line = h("tr", { class: chosen?.(row) ? "chosen" : null, tabindex: open ? "0" : null });
    if (open) {
      const opened = () => {
        if (chosen) mark(line);
        open(row, line);
      };
      line.addEventListener("click", opened);
      line.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && event.target === line) opened();
      });
    }
    columns.forEach((column) => {
      const tag = column.head ? "th" : "td";
      const kind = column.number ? "number" : column.kind;
      line.append(h(tag, { class: kind, scope: column.head ? "row" : null }, column.cell(row)));
    });
    return line;
  });
  return h("table", {},
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, columns.map((column) =>
      h(column.name ? "th" : "td", { scope: column.name && "col", title: column.title, class: column.number ? "number" : column.kind },
        column.name)))),
    h("tbody", {}, body));
}

// A part of a page that scrolls must be reachable without a mouse.
const scrolling = new ResizeObserver((entries) => entries.forEach((entry) => {
  const target = entry.target.closest(".body") ?? entry.target;
  if (target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight) target.tabIndex = 0;
  else target.removeAttribute("tabindex");
}));
export const scrolls = (element) => scrolling.observe(element);

// Term and description pairs; a pair whose description is empty is left out.
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

// Large figures: {name, value, unit?, aside?, tone?, href?, trend?}; `trend` is an element.
export function figures(list, items) {
  list.replaceChildren(...items.map(({ name, value, unit, aside, tone, href, trend }) => h("div", {},
    h("dt", {}, href ? h("a", { href }, name) : name),
    h("dd", { class: tone }, value, unit ? h("small", {}, ` ${unit}`) : null),
    aside ? h("dd", { class: "aside" }, aside) : null,
    trend ? h("dd", { class: "trend" }, trend) : null)));
  list.removeAttribute("aria-busy");
}

export function fill(select, values, value) {
  select.replaceChildren(...values.map((each) => h("option", { value: each }, each)));
  if (values.includes(value)) select.value = value;
  return select.value;
}
