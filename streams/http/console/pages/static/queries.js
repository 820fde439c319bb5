// The question behind a chart, for other programs: as SQL, as an HTTP request, as a command.

import { query } from "./api.js";

const VIEWS = { m1: "minutes", h1: "hours", d1: "days" };
const UNITS = { s: "SECOND", m: "MINUTE", h: "HOUR", d: "DAY", w: "WEEK" };

const literal = (text) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
export const shell = (text) => (/^[A-Za-z0-9_.:/=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// "-6h" and "now" stay relative, so that the query means the same tomorrow.
function moment(text) {
  const ago = /^-(\d+)([smhdw])$/.exec(text);
  if (text === "now") return "now()";
  if (ago) return `now() - INTERVAL ${ago[1]} ${UNITS[ago[2]]}`;
  const whole = text.replace("T", " ").replace("Z", "");
  return `toDateTime(${literal(whole.length === 16 ? `${whole}:00` : whole)}, 'UTC')`;
}

const reopens = (view) => view.name in VIEWS;

// The views of the windows that reopen have plain names; other windows are a view of their own name.
export const source = (view, table) => (reopens(view)
  ? { from: VIEWS[table], start: "window_start", column: (figure) => (figure === "count" ? "events" : figure) }
  : { from: table, start: "w", column: (figure) => figure.replace(/^(by|fold)\./, "") });

// The conditions on the key.
export function keyed(view, asked) {
  const values = ({ kind, name }) => [asked[name]].flat()
    .map((value) => (kind === "str" ? literal(value) : value)).join(", ");
  const where = view.dimensions.map((one) => `${one.column} IN (${values(one)})`);
  if (view.tenant) where.unshift(`${reopens(view) ? "tenant" : "tenant_id"} = ${literal(asked.tenant)}`);
  return where;
}

// `asked`: parameters of /api/range; `table` and `figures`: those of its answer.
export function sqlOf(view, asked, table, figures) {
  const { from, start, column } = source(view, table);
  const shown = [...(reopens(view) ? [] : ["closed"]), ...figures.map(column)];
  const names = view.dimensions.map((one) => one.column);
  const where = keyed(view, asked);
  where.push(`${start} >= ${moment(asked.from ?? "-1h")} AND ${start} < ${moment(asked.to ?? "now")}`);
  return [`SELECT ${[...names, start, ...shown].join(", ")}`, `FROM ${from}`, `WHERE ${where.join("\n    AND ")}`,
    `ORDER BY ${[...names, start].join(", ")}`].join("\n");
}

export const curlOf = (asked) =>
  `curl -H "Authorization: Bearer $DIA_TOKEN" ${shell(`${location.origin}/api/range?${query(asked)}`)}`;

// One command for each key.
export function commandOf(view, asked) {
  const keys = view.dimensions.reduce((found, { name }) => found.flatMap((key) =>
    [asked[name]].flat().map((value) => [...key, reopens(view) ? `--${name} ${shell(value)}` : `--key ${shell(`${name}=${value}`)}`])), [[]]);
  const begin = ["dia query series", ...(reopens(view) ? [] : [`--windows ${view.name}`]),
    ...(view.tenant ? [`--tenant ${shell(asked.tenant)}`] : [])];
  return keys.map((key) => [...begin, ...key,
    `--from=${shell(asked.from ?? "-1h")}`, `--to=${shell(asked.to ?? "now")}`].join(" ")).join("\n");
}
