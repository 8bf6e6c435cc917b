// Logging in: a token from the address's fragment, which is sent to nobody by itself, or from the form.
//
// Rules of this file: the token is handed to the gateway once, and kept nowhere here. What remains is a cookie that no
// script can read.

const root = document.querySelector("meta[name=zchat-root]").content;
const at = (id) => document.getElementById(id);

async function login(token) {
  at("wrong").textContent = "";
  let answer;
  try {
    answer = await fetch(`${root}/login`, { method: "POST", body: JSON.stringify({ token }) });
  } catch {
    at("wrong").textContent = "The gateway does not answer. Try again.";
    return;
  }
  if (!answer.ok) {
    at("wrong").textContent = "This token is unknown, was taken back, or is over.";
    return;
  }
  const isKept = (await fetch(`${root}/me`)).ok; // a browser keeps a cookie of another host only over https
  if (isKept) location.replace(`${root}/`);
  else at("wrong").textContent = "Your browser did not keep the log-in. The address must begin with https.";
}

at("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  login(at("token").value.trim());
});

const given = location.hash.slice(1);
if (given) {
  history.replaceState(null, "", location.pathname);
  login(given);
} else {
  at("token").focus();
}
