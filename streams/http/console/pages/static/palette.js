// The command box: a name leads to what became of it, to a topic, or to a page.

import { $, h } from "./dom.js";
import { get, ownTenant, query } from "./api.js";

const TOPICS_SHOWN = 5;
const VIEWS_SHOWN = 5;
let topics = null;
let views = [];
let chosen = 0;

const pages = () => [...document.querySelectorAll("nav[aria-label=Pages] a")]
  .map((link) => ({ text: link.textContent, href: link.getAttribute("href") }));

const has = (path) => pages().some((page) => page.href === path);

// Where a text may lead, the likeliest first.
function options(text) {
  const wanted = text.toLowerCase();
  const fitting = pages().filter((page) => page.text.toLowerCase().includes(wanted))
    .map((page) => ({ text: `Page ${page.text}`, href: page.href }));
  if (!text) return fitting;
  const saved = views.filter((view) => view.name.toLowerCase().includes(wanted)).slice(0, VIEWS_SHOWN)
    .map((view) => ({ text: `View ${view.name}`, href: view.address }));
  const named = (topics ?? []).filter((topic) => topic.name.toLowerCase().includes(wanted)).slice(0, TOPICS_SHOWN)
    .map((topic) => ({ text: `Messages of topic ${topic.name}`, href: `/messages?${query({ topic: topic.name })}` }));
  const tenant = ownTenant() ? [] : [
    { text: `Dead letters of tenant ${text}`, href: `/dead-letters?${query({ tenant: text })}` },
    ...(has("/explore") ? [{ text: `Series of tenant ${text}`, href: `/explore?${query({ tenant: text })}` }] : []),
  ];
  const model = has("/explore") && has("/training") ? [{ text: `Series of model ${text}`, href: `/explore?${query({ model: text })}` }] : [];
  const begins = fitting.length > 0 && wanted.length < 4;
  const trace = [{ text: `What became of ${text}`, href: `/trace?${query({ id: text })}` }];
  return begins ? [...fitting, ...saved, ...trace, ...named, ...model, ...tenant] : [...trace, ...saved, ...named, ...fitting, ...model, ...tenant];
}

function draw() {
  const found = options($("palette-text").value.trim());
  chosen = Math.max(0, Math.min(chosen, found.length - 1));
  $("palette-list").replaceChildren(...found.map((one, at) => h("li", {
    id: `palette-${at}`, role: "option", "aria-selected": String(at === chosen), "data-href": one.href,
    onclick: () => location.assign(one.href),
  }, one.text)));
  $("palette-text").setAttribute("aria-activedescendant", found.length ? `palette-${chosen}` : "");
}

export async function openPalette() {
  if ($("palette").open) return;
  $("palette-text").value = "";
  chosen = 0;
  draw();
  $("palette").showModal();
  if (topics) return;
  // Without the topics the box still leads to traces and pages.
  [{ topics }, { views }] = await Promise.all([
    get("/api/topics").catch(() => ({ topics: [] })), get("/api/views").catch(() => ({ views: [] })),
  ]);
  draw();
}

$("palette-text").addEventListener("input", () => { chosen = 0; draw(); });
$("palette-text").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    chosen += step;
    draw();
  }
  if (event.key === "Enter") {
    event.preventDefault();
    const line = $(`palette-${chosen}`);
    if (line) location.assign(line.dataset.href);
  }
});
$("palette-button").addEventListener("click", openPalette);
document.addEventListener("keydown", (event) => {
  if (event.key !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey) return;
  event.preventDefault();
  openPalette();
});
