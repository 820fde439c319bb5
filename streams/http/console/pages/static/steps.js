// The steps of a repair: choose, fix, preview, run, result. The one that the user is at is marked.

import { $ } from "./dom.js";

export function step(name) {
  for (const one of $("steps").children) {
    if (one.dataset.step === name) one.setAttribute("aria-current", "step");
    else one.removeAttribute("aria-current");
  }
  if (name !== "result") $("outcome").textContent = "";
}
