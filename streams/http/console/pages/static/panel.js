// A place on the page that is being read, is empty, has failed, or shows something.

import { h, scrolls } from "./dom.js";
import { Problem } from "./api.js";

export class Panel {
  constructor(element) {
    this.element = element;
    this.reading = null;
  }

  // `read(signal)` gives data, `draw(data)` an element, or null when there is nothing to show. What was
  // shown stays, dimmed, until the new is there; undimmed with `quiet`, for what a page reads by itself. A newer
  // call makes an older one void. After a failure the user may try `again`: by default, the same for this panel.
  async show(read, draw, empty, { quiet = false, again = () => this.show(read, draw, empty) } = {}) {
    this.reading?.abort();
    const reading = (this.reading = new AbortController());
    if (!quiet) this.element.setAttribute("aria-busy", "true");
    try {
      const data = await read(reading.signal);
      if (reading.signal.aborted) return undefined;
      this.put(draw(data), empty);
      return data;
    } catch (error) {
      if (reading.signal.aborted) return undefined;
      if (!(error instanceof Problem)) console.error(error);
      this.fail(error, again);
      return undefined;
    }
  }

  put(content, empty) {
    const shown = content ?? h("p", { class: "state" }, empty);
    this.element.replaceChildren(shown);
    scrolls(this.element);
    scrolls(shown);
    this.element.removeAttribute("aria-busy");
  }

  fail(error, again) {
    const said = error instanceof Problem ? error.message : "This could not be shown.";
    this.element.replaceChildren(h("p", { class: "state error", role: "alert" }, said,
      again ? h("button", { type: "button", onclick: again }, "Try again") : null));
    this.element.removeAttribute("aria-busy");
  }
}
