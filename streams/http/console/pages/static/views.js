// Saved views: names for addresses of pages, of the token that saved them.

import { $, h } from "./dom.js";
import { get, post } from "./api.js";

const place = $("views");
const list = h("ul", { class: "views-list" });
const said = h("p", { class: "hint", role: "status" });
const name = h("input", { type: "text", id: "view-name", maxlength: "80", autocomplete: "off", required: true });

function tell(error) {
  said.textContent = error.message;
}

async function draw(message = "") {
  const { views } = await get("/api/views");
  list.replaceChildren(...views.map((view) => h("li", {},
    h("a", { href: view.address }, view.name),
    h("button", {
      type: "button", class: "quiet", "aria-label": `Delete the view ${view.name}`,
      onclick: () => post("/api/views/delete", { id: view.id }).then(() => draw("Deleted.")).catch(tell),
    }, "Delete"))));
  said.textContent = message || (views.length ? "" : "No view is saved yet.");
}

const form = h("form", {
  onsubmit: async (event) => {
    event.preventDefault();
    try {
      await post("/api/views", { name: name.value, address: location.pathname + location.search });
      await draw(`Saved as ${name.value.trim()}.`);
      name.value = "";
    } catch (error) {
      tell(error);
    }
  },
}, h("label", { for: "view-name" }, "Save this page as"), name, h("button", {}, "Save"));

if (place) {
  place.querySelector("fieldset").append(list, form, said);
  place.addEventListener("toggle", () => { if (place.open) draw().catch(tell); });
  document.addEventListener("click", (event) => { if (!event.target.closest("#views")) place.open = false; });
}
