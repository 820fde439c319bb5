// A trend as a small line without axes. The figure beside it says the newest value, so it is decoration.

const NS = "http://www.w3.org/2000/svg";
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
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("preserveAspectRatio", "none");
  const line = document.createElementNS(NS, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}
