// The gallery: a key to begin, and nothing under way is thrown away by what comes in.
"use strict";

document.addEventListener("keydown", (event) => {
  if (event.key !== "a" || event.repeat || pixloop.isTaken(event)) return;
  const link = document.getElementById("answer-all");
  if (link) link.click();
});

// A number that is being typed would be lost if its form were replaced.
document.body.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.target, typed = document.activeElement;
  if (part.id === "summary" && typed && typed.matches("input") && part.contains(typed)) event.preventDefault();
});
