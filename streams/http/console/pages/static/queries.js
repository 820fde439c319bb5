// The question behind a chart, for other programs: as SQL, as an HTTP request, as a command.

import { query } from "./api.js";

const VIEWS = { m1: "minutes", h1: "hours", d1: "days" };
const UNITS = { s: "SECOND", m: "MINUTE", h: "HOUR", d: "DAY", w: "WEEK" };

const literal = (text) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
const shell = (text) => (/^[A-Za-z0-9_.:/=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// "-6h" and "now" stay relative, so that the query means the same tomorrow.
function moment(text) {
  const ago = /^-(\d+)([smhdw])$/.exec(text);
  if (text === "now") return "now()";
  if (ago) return `now() - INTERVAL ${ago[1]} ${UNITS[ago[2]]}`;
  const whole = text.replace("T", " ").replace("Z", "");
  return `toDateTime(${literal(whole.length === 16 ? `${whole}:00` : whole)}, 'UTC')`;
}

// `asked`: parameters of /api/range; `table`: that of its answer.
export function sqlOf({ tenant, metric, model, from, to }, table) {
  return [`SELECT model, metric, window_start, events, mean, sd, min, max, last, p50, p95, p99`,
    `FROM ${VIEWS[table]}`,
    `WHERE tenant = ${literal(tenant)} AND metric IN (${[metric].flat().map(literal).join(", ")})`,
    `    AND model IN (${[model].flat().map(literal).join(", ")})`,
    `    AND window_start >= ${moment(from ?? "-1h")} AND window_start < ${moment(to ?? "now")}`,
    `ORDER BY model, metric, window_start`].join("\n");
}

export const curlOf = (asked) =>
  `curl -H "Authorization: Bearer $DIA_TOKEN" ${shell(`${location.origin}/api/range?${query(asked)}`)}`;

export const commandOf = ({ tenant, metric, model, from, to }) => [metric].flat().flatMap((measured) =>
  [model].flat().map((one) => ["dia query series --tenant", shell(tenant), "--model", shell(one), "--metric", shell(measured),
    `--from=${shell(from ?? "-1h")}`, `--to=${shell(to ?? "now")}`].join(" "))).join("\n");
