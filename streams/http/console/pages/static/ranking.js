// All values of the first dimension by one figure of the range: which model is highest, which is lowest.

import { $, h, table } from "./dom.js";
import { measure, plural } from "./format.js";
import { get } from "./api.js";
import { Panel } from "./panel.js";
import { readsAs, unitOf } from "./windows.js";

const panel = new Panel($("ranking"));

// Events, and the figures by which models are ranked most; the chosen one comes first.
const columnsOf = (view, by) => [...new Set([by, "last", "mean", "p95", "count"])]
  .filter((name) => view.figures.some((one) => one.name === name));

function draw(view, { ranked, number, of, by, ...rest }, address) {
  if (!ranked.length) return null;
  const unit = unitOf(rest.metric ?? "");
  const called = (figure) => (figure === "count" ? "events" : `${figure}${unit && ` (${unit})`}`);
  return h("div", {}, table(`Every ${of} by ${by}`, [
    { name: "", number: true, cell: (row) => String(ranked.indexOf(row) + 1) },
    { name: of, head: true, kind: "name", cell: (row) => h("a", { href: address(row[of]) }, row[of]) },
    ...columnsOf(view, by).map((figure) => ({
      name: called(figure), number: true,
      cell: (row) => h("data", { value: String(row[figure]) }, readsAs(view, figure, measure)(row[figure])),
    })),
  ], ranked), number > ranked.length
    ? h("p", { class: "hint" }, `${plural(number - ranked.length, `other ${of}`)} not shown.`) : null);
}

// `asked`: parameters of /api/range. One value of each other dimension is ranked: the first that is chosen.
// Without `by` there is no ranking.
export function rank(view, asked, by, order) {
  const wanted = Boolean(view.ranked && by);
  $("ranking").closest("section").hidden = !wanted;
  if (!wanted) return undefined;
  const [of, ...beside] = view.dimensions.map((one) => one.name);
  const chosen = Object.fromEntries(beside.map((name) => [name, asked[name][0]]));
  const { windows, tenant, from, to, table: from_table } = asked;
  $("ranking-title").textContent = `Every ${of} of ${Object.values(chosen).join(", ")}: ${order === "lowest" ? "lowest" : "highest"} ${by} first`;
  const range = new URLSearchParams(location.search);
  const address = (value) => {
    range.set(of, value);
    return `/explore?${range}`;
  };
  const question = { windows, tenant, ...chosen, of, from, to, table: from_table, by, order };
  return panel.show((signal) => get("/api/ranking", question, signal), (found) => draw(view, found, address),
    "No event in this range.");
}
