// What every page can do: hear what changed, say what went wrong, copy, and go by keys.
"use strict";

const pixloop = {
  csrf: document.querySelector("meta[name=csrf]").content,

  /** Ask the server as its own page. Throws an Error with the server's words. */
  async post(path, body, headers = {}) {
    const answer = await fetch(path, {
      method: "POST", body, headers: { "X-CSRF-Token": pixloop.csrf, ...headers },
    });
    if (!answer.ok) throw new Error(await pixloop.words(answer));
    return answer;
  },

  async postJson(path, value) {
    return (await pixloop.post(path, JSON.stringify(value), { "Content-Type": "application/json" })).json();
  },

  /** What an answer says went wrong, whether it is JSON, HTML or text. */
  async words(answer) {
    const text = await answer.text(), type = answer.headers.get("Content-Type") || "";
    if (type.includes("json")) { try { return JSON.parse(text).detail || text; } catch { return text; } }
    if (type.includes("html")) {
      const page = new DOMParser().parseFromString(text, "text/html");
      return (page.querySelector("[role=alert]") || page.querySelector("main h1") || page.body).textContent.trim();
    }
    return text.trim() || `The server answered ${answer.status}.`;
  },

  /** Whether a key is not a page's: it is part of a shortcut, or somebody types, or a dialog is open. */
  isTaken(event) {
    return event.ctrlKey || event.metaKey || event.altKey
      || event.target.closest("input, textarea, select, [contenteditable]") !== null || document.querySelector("dialog[open]") !== null;
  },

  /** A message that goes by itself; kind is good or bad. */
  toast(text, kind = "good") {
    const made = document.createElement("div");
    made.className = `toast ${kind}`;
    made.textContent = text;
    document.getElementById("toasts").append(made);
    setTimeout(() => made.remove(), kind === "bad" ? 12000 : 5000);
  },
};

// ---- what the server says has changed: elements with hx-trigger="pixloop:runs from:body" ask again

const NAMES = ["runs", "versions", "review", "annotations", "monitoring", "watch", "jobs", "captures", "server"];
let source = null;

const tell = (name) => document.body.dispatchEvent(new CustomEvent(`pixloop:${name}`));

// What changed since the page was made is told first, also when the connection is made anew.
function listen() {
  source = new EventSource(`/events?since=${document.body.dataset.began}`);
  for (const name of NAMES) source.addEventListener(name, () => tell(name));
}

function hush() {
  source?.close();
  source = null;
}

// A browser keeps six connections to a server, all tabs together: a page that nobody sees needs none.
function follow() {
  if (document.hidden) hush();
  else if (!source) listen();
}

document.addEventListener("visibilitychange", follow);
window.addEventListener("pagehide", hush);
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
document.addEventListener("DOMContentLoaded", follow); // by then all who want to hear of it listen

// ---- what went wrong with a part of a page

document.body.addEventListener("htmx:responseError", (event) => {
  const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
  const alert = page.querySelector("[role=alert]") || page.body;
  pixloop.toast(alert.textContent.trim() || `The server answered ${event.detail.xhr.status}.`, "bad");
});
document.body.addEventListener("htmx:sendError", () => pixloop.toast("The server does not answer. Is 'pixloop web' still running?", "bad"));

// ---- on a phone the menu is wider than the screen: the page that is open is seen in it

document.querySelector(".top nav a[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

// ---- copying

document.body.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) {
    const text = button.parentElement.querySelector("code").textContent;
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; }
    catch { button.textContent = "Select it and copy"; }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog).showModal();
});

// ---- keys: g and a letter goes to a page

let waiting = 0;
document.addEventListener("keydown", (event) => {
  if (event.repeat || pixloop.isTaken(event)) return;
  if (event.key === "?") return document.getElementById("keys").showModal();
  if (event.key === "g") { waiting = Date.now(); return; }
  if (Date.now() - waiting > 1500) return;
  waiting = 0;
  const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  if (link) { event.preventDefault(); event.stopImmediatePropagation(); link.click(); }
}, true);
