// Which tenant a page is about: the token's own, or one that is chosen; the address carries it.

import { $, fill } from "./dom.js";
import { get, ownTenant } from "./api.js";
import { state } from "./frame.js";

const LAST = "dia.tenant";

// Fills the tenant field and gives the tenant chosen; "" when there is none yet.
export async function tenants() {
  const found = ownTenant() ? [ownTenant()] : (await get("/api/tenants")).tenants;
  const wanted = state().get("tenant") || localStorage.getItem(LAST);
  return fill($("tenant"), found, wanted);
}

export const remember = (tenant) => localStorage.setItem(LAST, tenant);
