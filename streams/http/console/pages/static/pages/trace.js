import { $, facts, h, table, toned, when } from "../dom.js";
import { count, moment, plural, seconds } from "../format.js";
import { keep, onAgain, start, state } from "../frame.js";
import { get, query } from "../api.js";
import { linkTo } from "../message.js";
import { Panel } from "../panel.js";
import { copying } from "../record.js";

const FILTERS = ["id", "topic", "tenant", "around"].filter((id) => $(id));
const TONES = { counted: "good", "dead letter": "bad", duplicate: "muted", "skipped by order": "warn", "not read yet": "warn" };
const report = new Panel($("trace"));

const filters = () => Object.fromEntries(FILTERS.map((id) => [id, $(id).value.trim()]));
const letterLink = (place) => `/dead-letters?${query({ topic: place.split("/")[0].replace(/\.(dlq|parked)$/, ""), letter: place })}`;

const step = ({ at_ms: at, what, text }) => h("li", {},
  h("time", { datetime: at === null ? null : new Date(at).toISOString() }, at === null ? "" : `${moment(at)}.${String(at % 1000).padStart(3, "0")}`),
  h("span", { class: "what" }, what), h("span", { class: "text" }, text));

function letter(one) {
  return h("section", {},
    h("h3", {}, h("span", { class: "mark bad" }, `Dead letter, ${one.state}`), " ", h("a", { href: letterLink(one.place) }, one.place)),
    h("ol", { class: "timeline" },
      step({ at_ms: one.failed_ms, what: "failed", text: `${one.code}: ${one.message}` }),
      one.decisions.map((each) => step({ at_ms: each.at_ms, what: each.disposition,
        text: [each.plan && `by plan ${each.plan}`, each.actor, each.reason].filter(Boolean).join(", ") }))));
}

function record(one) {
  const said = one.duplicate_of === null ? one.verdict : `${one.verdict} of offset ${one.duplicate_of}`;
  return h("section", {},
    h("h3", {}, toned(TONES[one.verdict] ?? "", said), " ", h("a", { href: linkTo(one.place) }, one.place)),
    h("ol", { class: "timeline" }, one.timeline.map(step)),
    one.doubts.map((doubt) => h("p", { class: "hint" }, `Not certain: ${doubt}`)),
    one.dead_letters.length ? h("p", {}, one.dead_letters.map((each) =>
      h("a", { href: letterLink(each.place) }, `Dead letter ${each.place}`))) : null,
    h("details", {}, h("summary", {}, "Value"), h("pre", { class: "wrapped", tabindex: "0" }, one.value ?? "none")));
}

const plan = (one) => h("section", {},
  h("h3", {}, `Plan ${one.plan} in ${one.topic}, partition ${one.partition}: ${one.state}`),
  facts([
    ["Letters", `${count(one.letters)}: ${count(one.replayed)} replayed, ${count(one.parked)} parked, ${count(one.left)} left`],
    ["By", one.actor],
    ["Began", when(one.began_ms)],
    ["Last step", when(one.last_ms)],
    ["Reason", one.reason],
  ]));

function nothing(found) {
  if (found.late) return "Not found within the time limit. Give a tenant or a time, or run dia trace with a longer --timeout.";
  if (!found.whole) return "Not found, but not every batch could be read.";
  return "Not found in the offsets below. Retention deletes old records, and an edge may still hold it in its spool.";
}

function draw(found) {
  const any = found.records.length + found.dead_letters.length + found.plans.length;
  $("searched-panel").hidden = false;
  $("searched").replaceChildren(searched(found));
  if (!any) return h("p", { class: "state" }, nothing(found));
  return h("div", {},
    h("p", {}, `${found.asked} (${found.kinds.join(", ")}): ${found.outcome}.`),
    found.late ? h("p", { class: "warn" }, "The time limit ended the search: there may be more.") : null,
    found.more ? h("p", { class: "hint" }, "There are more records; dia trace --limit shows them.") : null,
    h("div", { class: "actions" }, copying("Copy link", () => location.href)),
    found.plans.map(plan), found.records.map(record), found.dead_letters.map(letter));
}

function holes(one) {
  const words = [];
  if (one.to < one.wanted_to) words.push(`offsets ${one.to} to ${one.wanted_to - 1} were not searched`);
  if (one.trimmed) words.push("retention deleted records meanwhile");
  for (const [first, until] of one.unreadable) words.push(`offsets ${first} to ${until - 1} cannot be opened`);
  return words.join("; ");
}

function searched(found) {
  const shown = found.searched.filter((one) => one.wanted_to > one.from);
  const offsets = shown.reduce((total, one) => total + one.to - one.from, 0);
  return h("div", {},
    h("p", { class: "hint" }, `${count(offsets)} offsets of ${plural(shown.length, "partition")} in ${seconds(found.seconds)}.`,
      ...found.notes.map((note) => ` ${note}.`)),
    shown.length ? h("details", {}, h("summary", {}, "Partitions"), table("Searched", [
      { name: "Partition", head: true, kind: "name", cell: (one) => `${one.topic}/${one.partition}` },
      { name: "From offset", number: true, cell: (one) => count(one.from) },
      { name: "To, exclusive", number: true, cell: (one) => count(one.to) },
      { name: "Log begins at", number: true, cell: (one) => count(one.log_begin) },
      { name: "Left out", kind: "name", cell: holes },
    ], shown)) : null);
}

function read() {
  const asked = filters();
  keep(asked);
  if (!asked.id) return undefined;
  return report.show((signal) => get("/api/trace", asked, signal), draw, "");
}

$("filters").addEventListener("submit", (event) => { event.preventDefault(); read(); });
const wanted = state();
for (const id of FILTERS) $(id).value = wanted.get(id) ?? "";
onAgain(read);
await read();
start();
