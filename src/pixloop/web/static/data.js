// The page /data: choices show at once, pictures that cannot be read make room, n shows others.
"use strict";

// On a phone the tabs are wider than the screen.
document.querySelector(".data-tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });

for (const form of document.querySelectorAll("form[data-submits]")) {
  form.addEventListener("change", () => form.requestSubmit());
}

// A picture of the quarantine may be unreadable, which only shows when it is asked for.
document.addEventListener("error", (event) => {
  if (event.target instanceof HTMLImageElement && event.target.hasAttribute("data-fallible")) {
    const room = document.createElement("span");
    room.className = "no-picture";
    event.target.replaceWith(room);
  }
}, true);

document.addEventListener("keydown", (event) => {
  if (event.key !== "n" || event.repeat || pixloop.isTaken(event)) return;
  document.querySelector("[data-others]")?.click();
});
