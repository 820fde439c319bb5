// The query API: JSON in, JSON out, problems as errors. A lost session leads to the sign-in page.

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || "The console did not answer.");
    this.status = status;
    this.code = body.code || "unreachable";
  }
}

export function query(params) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const each of [value].flat()) {
      if (each !== null && each !== undefined && each !== "") found.append(name, each);
    }
  }
  return found.toString();
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The console does not answer. Is `dia console` still running?" });
  }
  if (response.status === 401) signIn();
  const body = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (response.status === 503) document.dispatchEvent(new CustomEvent("away", { detail: body }));
  if (!response.ok) throw new Problem(response.status, body);
  return body;
}

export function signIn() {
  location.assign(`/sign-in?${query({ next: location.pathname + location.search })}`);
}

export const get = (path, params = {}, signal = undefined) => {
  const asked = query(params);
  return ask(asked ? `${path}?${asked}` : path, { signal });
};

export const post = (path, body = {}) => ask(path, {
  method: "POST",
  headers: {
    "Content-Type": "application/json",
    "X-CSRF-Token": document.querySelector('meta[name="csrf-token"]').content,
  },
  body: JSON.stringify(body),
});

const RANKS = ["read", "operate", "admin"];

// Whether the holder's role includes `role`: what may be shown as a control; the API decides.
export const may = (role) => RANKS.indexOf(document.body.dataset.role) >= RANKS.indexOf(role);
export const ownTenant = () => document.body.dataset.tenant;
