import { $, h, table, unmark, when } from "../dom.js";
import { ZONE, bytes, clock, count, plural } from "../format.js";
import { keep, onAgain, start, state, watch } from "../frame.js";
import { get, ownTenant, query } from "../api.js";
import { sheet } from "../message.js";
import { Panel } from "../panel.js";
import { copying } from "../record.js";
import { description, topicList } from "../topics.js";

const FILTERS = ["topic", "tenant", "key", "partition", "from", "to", "where", "code", "contains"].filter((id) => $(id));
const PAGE = 50;
const LIMIT_MAX = 500;
const list = new Panel($("messages"));
const topics = new Panel($("topics"));
const sheets = $("description") && new Panel($("description"));
const detail = new Panel($("message"));
let chosen = state().get("message") ?? "";
let limit = Math.min(LIMIT_MAX, Number(state().get("limit")) || PAGE);
let live = null;

const filters = () => Object.fromEntries(FILTERS.map((id) => [id, $(id).value.trim()]));

function remembered() {
  keep({ ...filters(), limit: limit === PAGE ? "" : limit, live: live ? 1 : "", message: chosen });
}

// The same question for a terminal.
function command() {
  const { topic, ...rest } = filters();
  const quoted = (value) => (/^[\w.:/+-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`);
  const options = Object.entries(rest).filter(([, value]) => value).map(([name, value]) => `--${name}=${quoted(value)}`);
  return ["dia topics search", quoted(topic), ...options].join(" ");
}

const rows = (found) => table("Messages", [
  { name: `Time (${ZONE})`, head: true, cell: (one) => when(one.at_ms) },
  { name: "Partition", number: true, cell: (one) => String(one.partition) },
  { name: "Offset", number: true, cell: (one) => String(one.offset) },
  { name: "Tenant", kind: "name", cell: (one) => one.tenant },
  { name: "Key", kind: "name", cell: (one) => one.key ?? "none" },
  ...(found.some((one) => one.code || one.refusal) ? [{ name: "Error", cell: (one) =>
    h("span", { class: "bad" }, one.code || one.refusal.split(":")[0]) }] : []),
  { name: "Size", number: true, cell: (one) => bytes(one.bytes) },
  { name: "Value", kind: "message", cell: (one) => one.preview + (one.cut ? "…" : "") },
], found, { open: (one) => show(one.place), chosen: (one) => one.place === chosen });

function bounds(searched) {
  const holes = searched.reduce((total, one) => total + one.unreadable.length, 0);
  const offsets = searched.reduce((total, one) => total + Math.max(0, one.to - one.from), 0);
  const held = `${count(offsets)} offsets in ${plural(searched.length, "partition")} are in these bounds`;
  return holes ? `${held}; ${plural(holes, "batch", "batches")} cannot be opened` : held;
}

function drawMessages({ messages, late, more, searched }) {
  const notes = h("p", { class: "hint" }, `${bounds(searched)}.`,
    late ? " Older messages were not read: the limit of time was reached. Give a time, a key or a partition." : "");
  if (!messages.length) return h("div", {}, h("p", { class: "state" }, late
    ? "No message among those that were read." : "No message meets these conditions."), notes);
  const older = more && limit < LIMIT_MAX ? h("button", { type: "button", onclick: () => {
    limit = Math.min(LIMIT_MAX, limit * 2);
    read();
  } }, "Show more") : null;
  return h("div", {}, rows(messages), h("div", { class: "actions" }, older, copying("Copy as command", command), notes));
}

function drawLive({ messages, selected, skipped, unreadable }, since) {
  const words = [`${plural(selected, "new message")} since ${clock(since)} ${ZONE}`];
  if (selected > messages.length) words.push(`the newest ${count(messages.length)} are shown`);
  if (skipped) words.push(`${count(skipped)} offsets came too fast to be read`);
  if (unreadable) words.push(`${plural(unreadable, "batch", "batches")} cannot be opened`);
  return h("div", {}, h("p", { class: "hint", role: "status" }, `Live: ${words.join("; ")}.`),
    messages.length ? rows(messages) : h("p", { class: "state" }, "Waiting for new messages."));
}

function stopLive() {
  live?.close();
  live = null;
  $("live").setAttribute("aria-pressed", "false");
  $("live").textContent = "Live";
}

function startLive() {
  const since = Date.now();
  $("live").setAttribute("aria-pressed", "true");
  $("live").textContent = "Stop live";
  list.element.setAttribute("aria-busy", "true");
  live = watch(`/live/messages?${query(filters())}`,
    (found) => list.put(drawLive(found, since), ""),
    (problem) => list.put(h("p", { class: "state error", role: "alert" }, problem.detail), ""));
}

async function show(place) {
  chosen = place;
  remembered();
  $("message-panel").hidden = false;
  const found = await detail.show((signal) => get("/api/message", { place }, signal), sheet, "");
  if (found) $("message-title").focus();
}

const readTopics = () => topics.show((signal) => get("/api/topics", {}, signal),
  ({ topics: found }) => (found.length ? topicList(found, { own: ownTenant(), open: choose }) : null),
  "No topic exists yet. `dia topics apply` creates those of the app.");

function choose(name) {
  if (![...$("topic").options].some((option) => option.value === name)) {
    $("topic").append(h("option", { value: name }, name));
  }
  $("topic").value = name;
  read();
}

function read() {
  const { topic } = filters();
  remembered();
  $("topics-panel").hidden = Boolean(topic);
  $("messages-panel").hidden = !topic;
  $("live").disabled = !topic;
  if ($("description-panel")) $("description-panel").hidden = !topic;
  if (!topic) return readTopics();
  $("messages-title").textContent = `Messages of ${topic}, newest first`;
  const described = $("description-panel")
    ? sheets.show((signal) => get(`/api/topics/${encodeURIComponent(topic)}`, {}, signal), description, "") : null;
  if (live) { stopLive(); startLive(); remembered(); return described; }
  return Promise.all([described, list.show(
    (signal) => get("/api/messages", { ...filters(), limit }, signal), drawMessages, "")]);
}

$("message-close").addEventListener("click", () => {
  chosen = "";
  unmark("messages");
  $("message-panel").hidden = true;
  remembered();
});
$("live").addEventListener("click", () => {
  if (!live) startLive();
  else {
    stopLive();
    read();
  }
  remembered();
});
$("filters").addEventListener("submit", (event) => { event.preventDefault(); read(); });
$("filters").addEventListener("change", () => { limit = PAGE; read(); });

const wanted = state();
for (const id of FILTERS) {
  const value = wanted.get(id) ?? "";
  if (id === "topic" && value && ![...$(id).options].some((option) => option.value === value)) {
    $(id).append(h("option", { value }, value));
  }
  $(id).value = value;
}
onAgain(read);
if (wanted.get("live") && $("topic").value) startLive();
await Promise.all([chosen ? show(chosen) : null, read()]);
start();
