// A link may carry the token behind its #, which browsers send to no server: `dia demo --serve` prints one.

const form = document.querySelector("form");
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token && !document.getElementById("refused")) {
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("token").value = token;
  form.requestSubmit();
}
