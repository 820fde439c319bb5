// Which tenant a page is about: the token's own, or one that is chosen; the address carries it.

import { $, fill } from "./dom.js";
import { get, ownTenant } from "./api.js";
import { state } from "./frame.js";

const LAST = "dia.tenant";

let answered = false;

// Whether the tenants were read: without them an empty field would say that there is no tenant.
export const tenantsKnown = () => answered;

// Fills the tenant field and gives the tenant chosen; "" when there is none yet.
export async function tenants() {
  const found = ownTenant() ? [ownTenant()] : (await get("/api/tenants")).tenants;
  answered = true;
  const asked = state().get("tenant");
  // A shared link never shows another tenant than it names: an unknown one is chosen, and the API says what it is.
  if (asked && !found.includes(asked)) return fill($("tenant"), [asked, ...found], asked);
  return fill($("tenant"), found, asked || localStorage.getItem(LAST));
}

export const remember = (tenant) => localStorage.setItem(LAST, tenant);
