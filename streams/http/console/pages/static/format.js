// How figures, times and sizes read. Times are UTC, so that what two people quote to each other is the same, unless the
// reader chose the zone of this browser. What is typed, copied or exported is always UTC.

export const UNKNOWN = "unknown";

// A name is what a sender wrote. Characters that show nothing, or turn what follows around, would make it
// read as another name: they are shown as their numbers.
const unseen = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
export const visible = (text) =>
  text.replace(unseen, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const known = (value) => value !== null && value !== undefined;

export const count = (value) => (known(value) ? whole.format(value) : UNKNOWN);

// Six significant digits; very large and very small ones as powers of ten.
export function measure(value) {
  if (!known(value)) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e9 || size < 1e-4)) return value.toExponential(4);
  return new Intl.NumberFormat("en", { maximumSignificantDigits: 6 }).format(value);
}

// A percentile is within 1 %: more than three digits would pretend to more.
export const rough = (value) => (known(value) ? measure(Number(value.toPrecision(3))) : "");

// For columns: always six significant digits, so that they line up.
const six = new Intl.NumberFormat("en", { minimumSignificantDigits: 6, maximumSignificantDigits: 6 });
export function aligned(value) {
  if (!known(value)) return "";
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e9 || size < 1e-4) ? value.toExponential(5) : six.format(value);
}

export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}

export function seconds(value) {
  if (!known(value)) return UNKNOWN;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} d`;
}

const KEPT = "dia.zone";
export const isLocal = localStorage.getItem(KEPT) === "local";
export const ZONE = isLocal ? "local" : "UTC";
export const changeZone = () => localStorage.setItem(KEPT, isLocal ? "UTC" : "local");

const inUtc = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ");
// Swedes write dates as ISO 8601 does.
const inLocal = (ms, more) => new Date(ms).toLocaleString("sv-SE", more);
const text = isLocal ? inLocal : inUtc;

export const moment = (ms) => (ms ? text(ms) : "");
// In the zone that the page does not show, which the text names.
export const elsewhere = (ms) => (isLocal ? `${inUtc(ms)} UTC` : inLocal(ms, { timeZoneName: "short" }));
export const minute = (s) => text(s * 1000).slice(0, 16);
export const clock = (ms) => text(ms).slice(11, 19);
// A part of a whole, as of one processor.
export const share = (value) => (known(value) ? `${Math.round(100 * value)} %` : UNKNOWN);
export const age = (ms) => (ms ? seconds(Math.max(0, (Date.now() - ms) / 1000)) : UNKNOWN);
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
