// An alert from a chart, for other programs: a statement that has a row for each series beyond a bound, and the same as
// a rule that Grafana provisions.

import { keyed, source } from "./queries.js";

const READ_MINUTES = 10;
const CLICKHOUSE_UID = "dia-clickhouse";

// Of the finest windows: an alert that waits for the end of an hour is late.
const spanOf = ({ tables: [finest] }) => Math.max(READ_MINUTES * 60, 3 * finest.width_s);

// `alert`: {figure, beyond: "above" or "below", bound}. Of each series the window that is furthest beyond.
export function alertSql(view, asked, { figure, beyond, bound }) {
  const { from, start, column } = source(view, view.tables[0].name);
  const furthest = `${beyond === "below" ? "min" : "max"}(${column(figure)})`;
  const names = view.dimensions.map((one) => one.column);
  return [`SELECT ${[...names, `${furthest} AS furthest`].join(", ")}`, `FROM ${from}`,
    `WHERE ${[...keyed(view, asked), `${start} >= now() - INTERVAL ${spanOf(view)} SECOND`].join("\n    AND ")}`,
    `GROUP BY ${names.join(", ")}`, `HAVING furthest ${beyond === "below" ? "<" : ">"} ${bound}`].join("\n");
}

// FNV-1a: one question has one uid, so that Grafana replaces its rule and makes no second one.
function digest(text) {
  let sum = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) sum = Math.imul(sum ^ byte, 0x01000193) >>> 0;
  return sum.toString(16).padStart(8, "0");
}

// Grafana reads "$" as the start of a variable.
const doubled = (text) => text.replaceAll("$", "$$$$");

// JSON is YAML, so this is a file for `provisioning/alerting`. A series without a row is well.
export function alertRule(view, asked, alert) {
  const sql = alertSql(view, asked, alert);
  const about = [asked.tenant, ...view.dimensions.map(({ name }) => [asked[name]].flat().join(", "))].filter(Boolean).join(" / ");
  const title = `${about}: ${alert.figure} ${alert.beyond} ${alert.bound}`;
  const query = {
    refId: "A", datasourceUid: CLICKHOUSE_UID, relativeTimeRange: { from: spanOf(view), to: 0 },
    model: { refId: "A", editorType: "sql", queryType: "table", format: 1, rawSql: doubled(sql) },
  };
  const evaluator = { type: alert.beyond === "below" ? "lt" : "gt", params: [Number(alert.bound)] };
  const threshold = {
    refId: "B", datasourceUid: "__expr__",
    model: { refId: "B", type: "threshold", expression: "A", conditions: [{ evaluator }] },
  };
  const rule = {
    uid: `dia-${digest(sql)}`, title: doubled(title), condition: "B", data: [query, threshold], for: "2m",
    noDataState: "OK", execErrState: "Error", labels: { severity: "warning" }, annotations: { summary: doubled(title) },
  };
  return JSON.stringify({
    apiVersion: 1,
    groups: [{ orgId: 1, name: "dia-charts", folder: "dia", interval: "1m", rules: [rule] }],
  }, null, 2);
}
