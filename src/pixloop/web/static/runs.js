// A run as it goes, and the form that starts one.
"use strict";

// ---- the form: what is changed is checked as it is typed, by the configuration itself

const form = document.getElementById("start");
if (form) {
  const button = form.querySelector("button.main"), undo = form.querySelector("button[type=reset]");
  const fields = [...form.querySelectorAll(".field")];
  let asked = 0, timer = 0;

  const show = (told) => {
    document.getElementById("command").textContent = told.command;
    document.getElementById("time").textContent = told.time;
    const changed = told.changed.length;
    document.getElementById("changed").textContent = changed ? `Changed: ${told.changed.join(", ")}.` : "Nothing is changed.";
    undo.hidden = !changed;
    const whole = document.getElementById("whole-error");
    whole.textContent = told.errors[""] || "";
    whole.hidden = !told.errors[""];
    for (const field of fields) {
      const words = told.errors[field.dataset.key] || "", place = field.querySelector(".error");
      if (place.textContent !== words) place.textContent = words;
      place.hidden = !words;
      field.classList.toggle("changed", told.changed.includes(field.dataset.key));
      const input = field.querySelector("input:not([type=hidden]), select");
      if (words) input.setAttribute("aria-invalid", "true"); else input.removeAttribute("aria-invalid");
    }
  };
  const filled = () => new URLSearchParams(new FormData(form));
  const check = async () => {
    const turn = ++asked;
    try {
      const told = await (await pixloop.post("/runs/check", filled())).json();
      if (turn === asked) show(told);
    } catch (error) { if (turn === asked) pixloop.toast(error.message, "bad"); }
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(check, 300); };

  form.addEventListener("input", (event) => { if (event.target.id !== "filter") soon(); });
  form.addEventListener("reset", () => setTimeout(check));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(timer);
    const turn = ++asked;
    button.disabled = true;
    try {
      const answer = await fetch("/runs/start", { method: "POST", body: filled(), headers: { "X-CSRF-Token": pixloop.csrf, "HX-Request": "true" } });
      if (answer.ok) { location.href = (await answer.json()).location; return; }
      if ((answer.headers.get("Content-Type") || "").includes("json")) {
        if (turn === asked) show(await answer.json());
        const wrong = form.querySelector("[aria-invalid=true]");
        if (wrong) { wrong.closest("details").open = true; wrong.closest(".field").hidden = false; wrong.focus(); }
      } else pixloop.toast(await pixloop.words(answer), "bad");
    } catch (error) { pixloop.toast(error.message, "bad"); }
    button.disabled = false;
  });

  const sections = [...form.querySelectorAll(".keys-of")], first = sections.map((section) => section.open);
  document.getElementById("filter").addEventListener("input", (event) => {
    const words = event.target.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    sections.forEach((section, i) => {
      let here = 0;
      for (const field of section.querySelectorAll(".field")) {
        field.hidden = !words.every((word) => field.dataset.words.includes(word));
        here += !field.hidden;
      }
      section.hidden = !here;
      section.open = words.length ? here > 0 : first[i];
      found += here;
    });
    document.getElementById("found").textContent = words.length ? `${found} ${found === 1 ? "key" : "keys"}` : "";
  });
  document.getElementById("filter").addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
  check();
}

// ---- the curves of a training

const curves = document.getElementById("curves");
if (curves) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const plots = {};

  const draw = (place, series, data, from_zero) => {
    const root = document.getElementById(place), width = Math.max(240, root.clientWidth);
    if (plots[place]) { plots[place].setData(data); return; }
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px sans-serif" };
    plots[place] = new uPlot({
      width, height: 220, legend: { live: true }, cursor: { drag: { x: false, y: false } },
      scales: { x: { time: false }, y: from_zero ? { range: (_, __, most) => [0, (most || 1) * 1.05] } : {} },
      axes: [{ ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] }, { ...axis, size: 46 }],
      series: [{ label: "epoch" }, ...series.map((each, i) => ({
        label: each, stroke: colour(`--c${i}`), width: 2, points: { show: true, size: 5, fill: colour(`--c${i}`) },
        value: (_, value) => (value == null ? "–" : value.toFixed(4)),
      }))],
    }, data, root);
  };
  const look = async () => {
    const answer = await fetch(`/runs/${encodeURIComponent(curves.dataset.run)}/epochs.json`);
    if (!answer.ok) return;
    const told = await answer.json();
    if (!told.epoch.length) return;
    curves.querySelector(".curves").hidden = false;
    document.getElementById("score-caption").textContent = `${told.score_title} on the validation pictures`;
    draw("plot-loss", ["training", "validation"], [told.epoch, told.train_loss, told.validation_loss], true);
    draw("plot-score", [told.score_title], [told.epoch, told.score], false);
  };
  const again = () => { for (const name of Object.keys(plots)) { plots[name].destroy(); delete plots[name]; } look(); };
  document.body.addEventListener("pixloop:runs", look);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let wide = 0;
  new ResizeObserver(() => {
    if (curves.clientWidth === wide) return;
    wide = curves.clientWidth;
    for (const name of Object.keys(plots)) plots[name].setSize({ width: document.getElementById(name).clientWidth, height: 220 });
  }).observe(curves);
  look();
}

// ---- the table of epochs comes anew with each one, and stays open

let table_open = false;
document.body.addEventListener("toggle", (event) => { if (event.target.closest("#epochs")) table_open = event.target.open; }, true);
document.body.addEventListener("htmx:afterSwap", () => {
  const details = document.querySelector("#epochs details");
  if (details && table_open) details.open = true;
});

// ---- the log: it follows its end as long as that is what is looked at

const log = document.getElementById("log");
if (log) {
  const buttons = [...document.querySelectorAll("[data-step]")].filter((each) => each.matches("button"));
  let chosen = false, shown = null;

  const read = async () => {
    const step = log.dataset.step;
    if (!step) return;
    const answer = await fetch(`/runs/${encodeURIComponent(log.dataset.run)}/log?step=${encodeURIComponent(step)}`);
    if (!answer.ok || step !== log.dataset.step) return;
    const text = await answer.text();
    if (text === shown) return;
    const at_end = shown === null || log.scrollTop + log.clientHeight >= log.scrollHeight - 24;
    shown = log.textContent = text;
    if (at_end) log.scrollTop = log.scrollHeight;
  };
  const choose = (step) => {
    log.dataset.step = step;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.step === step));
    shown = null;
    read();
  };
  for (const button of buttons) button.addEventListener("click", () => { chosen = true; choose(button.dataset.step); });
  // The steps' state says which one is at work; its log is followed until somebody chooses another.
  document.body.addEventListener("htmx:afterSettle", () => {
    const working = document.querySelector(".track li.running b");
    for (const button of buttons) {
      const item = [...document.querySelectorAll(".track b")].find((each) => each.textContent === button.dataset.step);
      if (item && !item.closest("li").matches(".waiting")) button.hidden = !item.closest("li").matches(".running") && button.hidden;
    }
    const own = working && buttons.find((each) => each.dataset.step === working.textContent);
    if (own && !chosen && log.dataset.step !== own.dataset.step) { own.hidden = false; choose(own.dataset.step); } else read();
  });
  setInterval(() => { if (document.querySelector("#state[data-status=running]") && !document.hidden) read(); }, 2000);
  read();
}
