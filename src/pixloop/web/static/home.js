// The loop: parts come again whenever something may have changed, and mostly nothing has.
"use strict";

// What comes as it was is not put in its place again: that would take the focus along, and have
// screen readers say it once more.
const before = new WeakMap();
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const target = event.detail.target;
  if (!target.matches("[data-still]") || event.detail.xhr.status !== 200) return;
  const now = event.detail.serverResponse.trim();
  if (before.get(target) === now) event.detail.shouldSwap = false;
  before.set(target, now);
});

// ---- "12 min ago" grows older by itself; the words are those of rendering.ago

function duration(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return (hours ? `${hours} h ` : "") + `${minutes % 60} min`;
}

setInterval(() => {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const seconds = (Date.now() - new Date(time.dateTime)) / 1000;
    const words = seconds < 5 ? "just now" : `${duration(seconds)} ago`;
    if (time.textContent !== words) time.textContent = words;
  }
}, 10000);
