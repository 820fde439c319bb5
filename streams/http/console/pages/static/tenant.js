// Which tenant a page is about: the token's own, or one that is chosen; the address carries it.

import { $, fill, h } from "./dom.js";
import { get, ownTenant } from "./api.js";
import { count } from "./format.js";
import { state } from "./frame.js";
import { SEARCHED_FROM, SHOWN_MAX } from "./picker.js";

const LAST = "dia.tenant";

let answered = false;

// Whether the tenants were read: without them an empty field would say that there is no tenant.
export const tenantsKnown = () => answered;

// Of many tenants the field has the chosen one and those that the text fits; Enter chooses the first of them.
function offer(found, chosen) {
  const field = $("tenant");
  const box = $("tenant-search") ?? h("input", { type: "search", id: "tenant-search", "aria-label": "Search tenants", placeholder: "Search" });
  if (!box.isConnected) field.before(box);
  const fitting = () => found.filter((name) => name.toLowerCase().includes(box.value.trim().toLowerCase()));
  const draw = (value) => {
    const all = fitting();
    fill(field, [...new Set([value, ...all.slice(0, SHOWN_MAX)])].filter(Boolean), value);
    if (all.length > SHOWN_MAX) field.append(h("option", { disabled: true }, `${count(all.length - SHOWN_MAX)} more: search for them`));
  };
  box.oninput = () => draw(field.value);
  // The form reads anew when a field of it changes; this one only narrows another.
  box.onchange = (event) => event.stopPropagation();
  box.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const [first] = fitting();
    if (!first || first === field.value) return;
    draw(first);
    field.dispatchEvent(new Event("change", { bubbles: true }));
  };
  draw(found.includes(chosen) ? chosen : found[0]);
  return field.value;
}

// Fills the tenant field and gives the tenant chosen; "" when there is none yet.
export async function tenants() {
  const found = ownTenant() ? [ownTenant()] : (await get("/api/tenants")).tenants;
  answered = true;
  const asked = state().get("tenant");
  // A shared link never shows another tenant than it names: an unknown one is chosen, and the API says what it is.
  const named = asked && !found.includes(asked) ? [asked, ...found] : found;
  const chosen = asked || localStorage.getItem(LAST);
  return found.length >= SEARCHED_FROM ? offer(named, chosen) : fill($("tenant"), named, chosen);
}

export const remember = (tenant) => localStorage.setItem(LAST, tenant);
