"use strict";
// What a mark says, in its data-tip, <title> or title, is shown when it is pointed at, touched or
// reached by key: a plot is one stop of the tab key, the arrow keys step through its marks.
(() => {
  const REACH = 20; // pixels beside a mark that still count as on it
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  document.body.append(tip);
  let shown = null;

  function show(mark) {
    if (mark === shown) return;
    if (shown) shown.classList.remove("on");
    shown = mark;
    tip.textContent = mark ? mark.dataset.tip : "";
    if (!mark) return;
    mark.classList.add("on");
    const at = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = at.left + (at.width - own.width) / 2, above = at.top - own.height - 8;
    tip.style.left = `${Math.max(6, Math.min(left, document.documentElement.clientWidth - own.width - 6))}px`;
    tip.style.top = `${above > 6 ? above : Math.min(at.bottom + 8, innerHeight - own.height - 6)}px`;
  }

  // The nearest mark; of several below the pointer, the smallest.
  function nearest(marks, x, y) {
    let best = null, least = [REACH, Infinity];
    for (const mark of marks) {
      const at = mark.getBoundingClientRect();
      const away = Math.hypot(Math.max(at.left - x, 0, x - at.right), Math.max(at.top - y, 0, y - at.bottom));
      const area = at.width * at.height;
      if (away < least[0] || (away === least[0] && area < least[1])) [best, least] = [mark, [away, area]];
    }
    return best;
  }

  for (const title of document.querySelectorAll("svg title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove(); // or the browser would show it as well
  }
  for (const cell of document.querySelectorAll("main [title]")) {
    cell.dataset.tip = cell.title;
    cell.removeAttribute("title");
  }
  const hosts = new Map();
  for (const mark of document.querySelectorAll("[data-tip]")) {
    const host = mark.closest("svg, table") || mark;
    hosts.set(host, [...(hosts.get(host) || []), mark]);
  }
  for (const [host, marks] of hosts) {
    const point = (event) => show(nearest(marks, event.clientX, event.clientY));
    host.addEventListener("pointermove", point);
    host.addEventListener("pointerdown", point);
    host.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(null));
    if (host.localName !== "svg") continue;
    host.tabIndex = 0;
    host.addEventListener("focus", () => host.matches(":focus-visible") && show(marks[0]));
    host.addEventListener("blur", () => show(null));
    host.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      show(marks[(marks.indexOf(shown) + step + marks.length) % marks.length]);
    });
  }
  document.addEventListener("keydown", (event) => event.key === "Escape" && show(null));
  document.addEventListener("pointerdown", (event) => event.target.closest("svg, table, [data-tip]") || show(null));
  document.addEventListener("scroll", (event) => {
    // The table of contents scrolls by itself; that moves no mark.
    if (shown && event.target.contains(shown) && !shown.closest(":focus")) show(null);
  }, { capture: true, passive: true });

  // The part that is being read is marked in the table of contents.
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const reading = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      const link = links.get(target.id);
      link.setAttribute("aria-current", "true");
      link.parentNode.scrollLeft = link.offsetLeft - 24;
    }
  }, { rootMargin: "-20% 0px -75% 0px" });
  for (const id of links.keys()) reading.observe(document.getElementById(id));
})();
