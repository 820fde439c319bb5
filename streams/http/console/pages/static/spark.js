// A trend as a small line without axes. The figure beside it says the newest value, so it is decoration.

import { svg } from "./dom.js";

const WIDTH = 120;
const HEIGHT = 22;

// `values`: numbers or null. null where fewer than two are known. `cut`: the line fills the height, from the smallest
// value up, where a course counts and not a size.
export function sparkline(values, { cut = false } = {}) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return null;
  const least = cut ? Math.min(...known) : 0;
  const most = Math.max(...known) - least || 1;
  const x = (at) => ((WIDTH * at) / (values.length - 1)).toFixed(1);
  const y = (value) => (HEIGHT - 1 - ((HEIGHT - 2) * (value - least)) / most).toFixed(1);
  let path = "";
  values.forEach((value, at) => {
    if (value === null) return;
    path += `${at && values[at - 1] !== null && path ? "L" : "M"}${x(at)} ${y(value)}`;
  });
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "spark", "aria-hidden": "true", preserveAspectRatio: "none" },
    svg("path", { d: path }));
}
