// The charts of /monitoring: each element with data-chart holds its numbers.
"use strict";

const charts = new Map(); // element → { plot, watcher }

const day = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "2-digit", month: "short" });
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const moment = (seconds) => `${day.format(seconds * 1000)} ${clock.format(seconds * 1000)} UTC`;
const share = (value) => (value === null ? "–" : `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`);
const count = (value) => (value === null ? "–" : value.toLocaleString("en").replaceAll(",", "\u202f"));

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }

function axis(values) {
  const line = { stroke: () => colour("line"), width: 1 };
  return { stroke: () => colour("muted"), grid: line, ticks: line, font: "12px sans-serif", values };
}

/** Time by the day where it spans days. */
function times(plot, places) {
  const first = plot.scales.x.min, last = plot.scales.x.max, long = last - first > 3 * 86400;
  return places.map((at) => (long ? day.format(at * 1000) : clock.format(at * 1000).slice(0, last - first < 600 ? 8 : 5)));
}

function options(chart, width) {
  const evidence = chart.kind === "evidence", bars = chart.kind === "traffic";
  const shown = bars ? count : share;
  const highest = Math.max(...chart.series.flatMap((each) => each.values), chart.limit ? chart.limit.value : 0, 0);
  const top = evidence ? Math.max(1.25, Math.min(highest, 2.5)) : highest * 1.08 || 1;
  const x = evidence
    ? { label: "picture", value: (_, value, __, i) => (i === null ? "–" : `${count(value)}, ${moment(chart.times[i])}`) }
    : { label: "from", value: (_, value) => (value === null ? "–" : moment(value)) };
  const drawn = chart.series.map((each, i) => ({
    label: each.label, stroke: () => colour(`c${i}`), width: bars ? 0 : 2,
    fill: bars ? () => colour("heat") : undefined,
    paths: bars ? uPlot.paths.bars({ size: [0.8, 48] }) : undefined,
    points: { show: chart.kind === "referral" && chart.x.length < 60, size: 5 },
    spanGaps: chart.kind === "referral",
    value: (_, value) => shown(value),
  }));
  if (chart.limit) {
    drawn.push({
      label: chart.limit.label, stroke: () => colour(evidence ? "bad" : "before"), width: 1.5, dash: [6, 4],
      points: { show: false }, value: () => share(chart.limit.value),
    });
  }
  // Stretches are drawn from where they begin: half of one stands free at either end.
  const margin = chart.step ? chart.step / 2 : 0, ends = [chart.x[0], chart.x.at(-1)];
  return {
    width, height: evidence ? 260 : 190,
    scales: { x: { time: false, range: () => (ends[0] === ends[1] ? [ends[0] - (margin || 1), ends[1] + (margin || 1)] : [ends[0] - margin, ends[1] + margin]) }, y: { range: [0, top] } },
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    series: [x, ...drawn],
    axes: [
      axis(evidence ? (_, places) => places.map(count) : times),
      { ...axis((_, places) => places.map((value) => (evidence && value === 1 ? "alarm" : bars ? (Number.isInteger(value) ? count(value) : "") : share(value)))), size: 56 },
    ],
  };
}

function draw(element) {
  const chart = JSON.parse(element.dataset.chart);
  if (!chart.x.length || charts.has(element)) return;
  const data = [chart.x, ...chart.series.map((each) => each.values)];
  if (chart.limit) data.push(chart.x.map(() => chart.limit.value));
  const plot = new uPlot(options(chart, element.clientWidth || 300), data, element);
  const watcher = new ResizeObserver(() => {
    if (element.clientWidth && element.clientWidth !== plot.width) plot.setSize({ width: element.clientWidth, height: plot.height });
  });
  watcher.observe(element);
  charts.set(element, { plot, watcher });
}

function forget() {
  for (const [element, { plot, watcher }] of charts) {
    if (!element.isConnected) { watcher.disconnect(); plot.destroy(); charts.delete(element); }
  }
}

function drawAll() { forget(); document.querySelectorAll("[data-chart]").forEach(draw); }

// What was opened stays open when its part comes anew.
let open = [];
document.body.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id === "found") open = [...document.querySelectorAll("#found details[open]")].map((each) => each.id);
});
document.body.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target.id === "found") document.getElementById("said").textContent = document.getElementById("h-verdict")?.textContent || "";
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  open = [];
  drawAll();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(({ plot }) => plot.redraw()));
drawAll();
