// The page of models: two versions to compare, what was done, and when the server has changed.
"use strict";

const picked = new Set();  // stays while the list is turned over or shown anew

function showPicked() {
  for (const box of document.querySelectorAll("[data-compare]")) {
    box.checked = picked.has(box.dataset.compare);
    box.disabled = picked.size === 2 && !box.checked;
  }
  const link = document.getElementById("compare-picked"), hint = document.getElementById("compare-hint");
  if (!link) return;
  const [older, newer] = [...picked].sort((a, b) => a - b);
  if (picked.size === 2) {
    link.href = `/models/compare?${new URLSearchParams({ a: older, b: newer })}`;
    link.removeAttribute("aria-disabled");
    link.textContent = `Compare ${newer} with ${older}`;
    hint.textContent = "";
  } else {
    link.removeAttribute("href");
    link.setAttribute("aria-disabled", "true");
    link.textContent = "Compare";
    hint.textContent = picked.size ? `Version ${older}, and one more.` : "Choose two versions.";
  }
}

document.body.addEventListener("change", (event) => {
  const version = event.target.dataset.compare;
  if (version === undefined) return;
  if (event.target.checked) picked.add(version); else picked.delete(version);
  showPicked();
});

// ---- what the server says was done

document.body.addEventListener("pixloop:told", (event) => pixloop.toast(event.detail.value));

// ---- a server that starts, stops or takes a version over

let known = null;
const WORDS = {
  serving: (card) => `The server answers as ${card.dataset.model}.`,
  refused: () => "The server did not keep the new version.",
  silent: () => "The server has stopped.",
};

function noticeServer() {
  const card = document.querySelector("#endpoint[data-state]");
  if (!card) return;
  const now = `${card.dataset.state} ${card.dataset.model}`;
  if (known !== null && known !== now) {
    if (WORDS[card.dataset.state]) pixloop.toast(WORDS[card.dataset.state](card));
    document.body.dispatchEvent(new CustomEvent("pixloop:server"));
  }
  known = now;
}

document.body.addEventListener("htmx:afterSettle", (event) => {
  showPicked();
  noticeServer();
  const log = document.querySelector("#endpoint-log[open]");
  if (log && event.target.id === "endpoint") htmx.trigger(log, "look");
});
