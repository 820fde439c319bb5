import { $, h, table, toned } from "../dom.js";
import { count } from "../format.js";
import { onAgain, start } from "../frame.js";
import { get, post } from "../api.js";
import { Panel } from "../panel.js";

const EVERY_MS = 2000;
const live = new Panel($("counts"));
const compared = new Panel($("compared"));

// Each line: what must be equal. What is on its way makes a difference that is gone some seconds later.
const lines = (counts) => [
  ["Records in the topic", counts.topic, "read by the agent", counts.read],
  ["Records read", counts.read, "applied + duplicates + dead letters", counts.applied + counts.duplicates + counts.dead],
  ["Events applied", counts.applied, "events in ClickHouse's windows", counts.visible],
  ["Dead letters in the ledger", counts.dead, "rows of dead letters", counts.dead_rows],
].map(([left, first, right, second]) => ({ left, first, right, second }));

const drawCounts = ({ counts }) => (counts ? table("Exactness now", [
  { name: "Count", head: true, cell: (one) => one.left },
  { name: "", number: true, cell: (one) => count(one.first) },
  { name: "equals", cell: (one) => one.right },
  { name: "", number: true, cell: (one) => count(one.second) },
  { name: "State", cell: (one) => (one.first === one.second ? toned("good", "equal")
    : toned("warn", `${count(Math.abs(one.first - one.second))} on their way`)) },
], lines(counts)) : h("p", { class: "state" }, "A service of the demo does not answer now; the counts come back with it."));

const drawCompared = (checks) => (checks.length ? table("Events of the demo", [
  { name: "Check", head: true, cell: (one) => one.name.trim() },
  { name: "Sent", number: true, cell: (one) => count(one.expected) },
  { name: "Found", number: true, cell: (one) => count(one.found) },
  { name: "", cell: (one) => (one.ok ? toned("good", "equal") : toned("bad", "differs")) },
], checks) : null);

async function read() {
  const answer = await live.show((signal) => get("/api/demo", {}, signal), drawCounts, "", { quiet: true });
  if (answer) compared.put(drawCompared(answer.compared), "The demo still sends its events; they are compared when all have arrived.");
}

document.querySelectorAll("[data-fault]").forEach((button) => button.addEventListener("click", async () => {
  button.disabled = true;
  $("said").textContent = "…";
  try {
    $("said").textContent = (await post(`/api/demo/${button.dataset.fault}`)).said;
  } catch (error) {
    $("said").textContent = error.message;
  }
  button.disabled = false;
  await read();
}));

async function keepReading() {
  if (!document.hidden) await read();
  setTimeout(keepReading, EVERY_MS);
}

onAgain(read);
await keepReading();
start();
