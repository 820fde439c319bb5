// What every page has: the banner of what is degraded, how fresh the figures are, and the keyboard.

import { $ } from "./dom.js";
import { ZONE, age, changeZone, clock, isLocal } from "./format.js";
import { query, signIn } from "./api.js";
import "./palette.js";
import "./views.js";

const causes = new Map();

// Tell, or with "" take back, that a part does not answer; the banner shows what is left to say.
export function degraded(part, said) {
  if (said) causes.set(part, said);
  else causes.delete(part);
  $("degraded").hidden = causes.size === 0;
  const text = [...causes.values()].join(" ");
  if ($("degraded").textContent !== text) $("degraded").textContent = text;
}

// For an answer of the API: how old it is, and whether it had to come from what was kept.
export function fresh(data) {
  if (data?.as_of_ms) $("freshness").textContent = `as of ${clock(data.as_of_ms)} ${ZONE}`;
  if (data && "degraded" in data) {
    // The overview goes on without figures of ClickHouse where none are kept.
    const nothing = ("throughput" in data && data.throughput === null) || data.ledger_known === false;
    degraded("kept", data.degraded && nothing ? "ClickHouse does not answer, and no earlier figures are kept."
      : data.degraded ? `ClickHouse does not answer in full. Showing figures of ${clock(data.as_of_ms)} ${ZONE}, ${age(data.as_of_ms)} old.`
      : "");
  }
}

// Nothing was kept that could be shown instead.
document.addEventListener("away", ({ detail }) => degraded("kept", detail.detail ?? "A service does not answer."));

// From this level on answers are kept ones; level 1 is slower than usual, and Overview's to say.
const PARTIAL = 2;
export const LEVELS = ["OK", "Slow", "Partial outage", "Outage"];
const EFFECTS = ["", "", " Figures may be old.", " Workers take no new records; nothing is lost."];

// What the overview says of the services and the level becomes the banner.
function tell(overview) {
  degraded("overview", "");
  const away = overview.services.filter((service) => !service.ok).map((service) => service.name);
  degraded("services", away.length ? `Down: ${away.join(", ")}.` : "");
  const level = overview.level;
  degraded("level", level && level.level >= PARTIAL
    ? `${LEVELS[level.level] ?? level.name}${level.reasons.length ? `: ${level.reasons.join("; ")}` : ""}.${EFFECTS[level.level] ?? ""}` : "");
  const { verdict, findings } = overview.health;
  const worst = findings.filter((one) => one.severity === verdict).map((one) => `${one.subject}: ${one.detail}`);
  degraded("health", verdict === "red" || verdict === "unknown" ? `Health is ${verdict}: ${worst.join("; ")}.` : "");
}

// Server-sent events of `path`; `seen(data)` for each. The browser comes back by itself after a stream
// ended; one that was refused for good means that the session is over.
export function watch(path, seen, trouble = () => {}) {
  let source = null;
  let over = false;
  function open() {
    let failures = 0;
    source = new EventSource(path);
    source.addEventListener("open", () => { failures = 0; degraded("console", ""); });
    source.addEventListener("message", (event) => seen(JSON.parse(event.data)));
    source.addEventListener("trouble", (event) => trouble(JSON.parse(event.data)));
    source.addEventListener("error", async () => {
      failures += 1;
      // A stream that ends is one failure, and opened again at once; two mean that the console is away.
      if (failures > 1) degraded("console", "The console does not answer: the figures on this page are not updated.");
      if (source.readyState !== EventSource.CLOSED) return;
      const session = await fetch("/session").catch(() => null);
      if (session?.status === 401) signIn();
      else setTimeout(() => over || open(), 5000);
    });
  }
  open();
  return { close() { over = true; source.close(); } };
}

// The filters of a page live in its address: `state()` reads them, `keep(values)` writes them. What a user
// changes is a step of the browser's history; what a page adds while it opens is not.
export const state = () => new URLSearchParams(location.search);

let started = false;
let address = location.pathname + location.search;

export function keep(values) {
  const asked = query(values);
  const wanted = asked ? `${location.pathname}?${asked}` : location.pathname;
  if (wanted === address) return;
  address = wanted;
  if (started) history.pushState(null, "", wanted);
  else history.replaceState(null, "", wanted);
}

// Back and Forward: a page takes its filters from the address when it opens.
window.addEventListener("popstate", () => {
  if (location.pathname + location.search !== address) location.reload();
});

let again = () => location.reload();
export const onAgain = (read) => { again = read; };

function step(by) {
  const rows = [...document.querySelectorAll("tbody tr[tabindex]")];
  const at = rows.indexOf(document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, at + by))]?.focus();
}

let leader = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, dialog")) return;
  if (leader) {
    leader = false;
    const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    if (link) link.click();
    return;
  }
  const actions = {
    g: () => { leader = true; },
    j: () => step(1),
    k: () => step(-1),
    r: () => again(),
    "?": () => $("keys").showModal(),
    "/": () => document.querySelector(".filters select, .filters input")?.focus(),
    Escape: () => document.querySelector(".detail:not([hidden]) .close")?.click(),
  };
  if (actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
});
if (isLocal) {
  $("zone-said").textContent = `Times are of ${Intl.DateTimeFormat().resolvedOptions().timeZone}; what you type is UTC.`;
  $("zone").textContent = "Show UTC";
}
$("zone").addEventListener("click", () => {
  changeZone();
  location.reload();
});
$("keys-button").addEventListener("click", () => $("keys").showModal());
document.querySelectorAll("nav a[aria-current]").forEach((link) =>
  link.scrollIntoView({ block: "nearest", inline: "nearest" }));

const heard = [];
const live = [];

// While it is paused a page keeps its figures, so that they can be read and compared; the banner goes on.
let paused = false;
export const unlessPaused = (seen) => (data) => { if (!paused) seen(data); };
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  if (!paused) again();
});

// Called when the overview's figures were read anew: about every half minute, which is when others are
// worth reading again.
export const onOverview = (seen) => heard.push(seen);

// Called with each overview; health, level and lag in it are seconds old.
export const onLive = (seen) => live.push(seen);

// Every page watches the overview: it is how a page learns that a part went away.
export function start() {
  started = true;
  let read = null;
  watch("/live/overview", (overview) => {
    tell(overview);
    if (paused) return;
    live.forEach((seen) => seen(overview));
    // The page has just read its figures itself when the first one comes.
    if (read !== null && overview.as_of_ms !== read) heard.forEach((seen) => seen(overview));
    read = overview.as_of_ms;
  }, (problem) => degraded("overview", `The overview cannot be read: ${problem.detail}`));
}
