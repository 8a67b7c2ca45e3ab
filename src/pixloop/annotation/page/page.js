// Asks the server what is to be answered, shows one picture at a time, and sends what was said.
// Names, reasons and answers are other people's text: they are set as text, never as HTML.
"use strict";

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const KINDS = {
  unsure: "Not sure enough", drifted: "Unlike what was learned", disagreement: "Models disagree",
  label_error: "Label is doubtful", random: "Drawn at random", reported: "Reported as wrong",
};
const state = { items: [], place: 0, done: [], classes: [], task: "", boxes: [], picked: -1,
                label: "", busy: false, total: 0 };

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const percent = (share) => `${Math.round(100 * share)} %`;
const current = () => state.items[state.place];

function complain(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

async function load() {
  const answer = await fetch("items");
  if (!answer.ok) throw new Error((await answer.json()).detail);
  const found = await answer.json();
  Object.assign(state, { items: found.items, classes: found.classes, task: found.task,
                         colours: found.colours, place: 0, total: found.items.length });
  document.title = `${found.name}: review`;
  byId("name").textContent = `${found.name}: review`;
  document.body.className = found.task;
  state.label = found.classes[0];
  show();
}

function show() {
  const item = current();
  byId("work").hidden = !item;
  byId("end").hidden = Boolean(item);
  byId("progress").textContent = item ? `${state.place + 1} of ${state.total}` : `${state.total} answered`;
  byId("undo").disabled = state.done.length === 0;
  if (!item) return;
  const picture = byId("picture");
  picture.onload = () => {  // small pictures are shown larger, and no picture leaves the window
    const frame = byId("frame").style;
    frame.setProperty("--natural", `${picture.naturalWidth}px`);
    frame.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
    drawBoxes();
  };
  picture.src = `pictures/${encodeURIComponent(item.sha256)}`;
  picture.alt = `picture ${state.place + 1}`;
  byId("reasons").replaceChildren(...item.reasons.map((reason) => {
    const line = element("li");
    line.append(element("b", KINDS[reason.kind] || reason.kind));
    if (reason.detail && reason.kind !== "random") line.append(`: ${reason.detail}`);
    return line;
  }));
  byId("given").hidden = !item.given;
  byId("given").textContent = item.given ? `Labelled ${item.given} in the data.` : "";
  byId("origin").textContent = [item.model && `answered by ${item.model}`, item.at && new Date(item.at).toLocaleString()].filter(Boolean).join(", ");
  const boxes = state.task === "detection";
  state.boxes = boxes ? (item.answer.boxes || []).map((box) => ({ ...box })) : [];
  state.picked = -1;
  byId("done").hidden = byId("delete").hidden = !boxes;
  byId("hint").textContent = boxes
    ? "Drag to draw a box of the marked class. Click one to pick it; a class then renames it."
    : "Press a number. The model's answers come first.";
  showClasses();
  drawBoxes();
  const next = state.items[state.place + 1];
  if (next) new Image().src = `pictures/${encodeURIComponent(next.sha256)}`;
}

function ranked() {
  if (state.task === "detection") return state.classes.map((name) => [name, null]);
  const shares = current().answer.probabilities || {};
  return state.classes.map((name) => [name, shares[name] || 0]).sort((a, b) => b[1] - a[1]);
}

function showClasses() {
  const order = ranked();
  byId("classes").replaceChildren(...order.map(([name, share], place) => {
    const button = element("button", undefined, { type: "button" });
    if (share === null) {
      const swatch = element("i");
      swatch.style.background = colour(name);
      button.append(swatch);
      button.classList.toggle("picked", name === state.label);
    } else button.append(place < 9 ? element("kbd", String(place + 1)) : element("i"));
    button.append(element("span", name, { class: "label" }));
    if (share === null) button.append(place < 9 ? element("kbd", String(place + 1)) : "");
    else {
      button.append(element("span", percent(share), { class: "soft" }));
      const bar = element("span", undefined, { class: "bar" });
      bar.style.width = percent(share).replace(" ", "");
      button.append(bar);
    }
    button.onclick = () => choose(name);
    return button;
  }));
}

function choose(name) {
  if (state.task !== "detection") return send({ label: name });
  state.label = name;
  if (state.picked >= 0) state.boxes[state.picked].label = name;
  showClasses();
  drawBoxes();
}

const colour = (name) => state.colours[Math.max(0, state.classes.indexOf(name))];

// ---- boxes, in pixels of the upright picture

function drawBoxes() {
  const picture = byId("picture"), layer = byId("boxes");
  if (state.task !== "detection" || !picture.naturalWidth) return layer.replaceChildren();
  layer.setAttribute("viewBox", `0 0 ${picture.naturalWidth} ${picture.naturalHeight}`);
  layer.setAttribute("preserveAspectRatio", "none");
  layer.replaceChildren(...state.boxes.map((box, place) => {
    const [x1, y1, x2, y2] = box.xyxy, rect = document.createElementNS(SVG, "rect");
    for (const [key, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1, stroke: colour(box.label) })) {
      rect.setAttribute(key, value);
    }
    rect.classList.toggle("picked", place === state.picked);
    rect.classList.toggle("referred", box.decision === "refer");
    const title = document.createElementNS(SVG, "title");
    title.textContent = box.score === undefined ? box.label : `${box.label} ${percent(box.score)}`;
    rect.append(title);
    rect.dataset.place = place;
    return rect;
  }));
}

function at(event) {
  const picture = byId("picture"), frame = picture.getBoundingClientRect();
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  return [inside((event.clientX - frame.left) / frame.width * picture.naturalWidth, picture.naturalWidth),
          inside((event.clientY - frame.top) / frame.height * picture.naturalHeight, picture.naturalHeight)];
}

let from = null, over = -1;
byId("boxes").addEventListener("pointerdown", (event) => {
  from = at(event);
  over = event.target.dataset.place === undefined ? -1 : Number(event.target.dataset.place);
  byId("boxes").setPointerCapture(event.pointerId);
  event.preventDefault();
});
byId("boxes").addEventListener("pointerup", (event) => {
  if (!from) return;
  const [x1, y1] = from, [x2, y2] = at(event);
  from = null;
  const scale = byId("picture").naturalWidth / byId("picture").clientWidth;
  if (Math.abs(x2 - x1) < 5 * scale || Math.abs(y2 - y1) < 5 * scale) {
    state.picked = over;
    if (over >= 0) state.label = state.boxes[over].label;
  } else {
    state.boxes.push({ label: state.label, xyxy: [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)] });
    state.picked = state.boxes.length - 1;
  }
  showClasses();
  drawBoxes();
});
byId("boxes").addEventListener("pointercancel", () => { from = null; });

function removeBox() {
  if (state.picked < 0) return;
  state.boxes.splice(state.picked, 1);
  state.picked = -1;
  drawBoxes();
}

// ---- sending

async function post(body) {
  const answer = await fetch("answers", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error((await answer.json()).detail);
}

async function attempt(work) {
  if (state.busy) return;  // a key that is held down answers one picture, not many
  state.busy = true;
  try {
    complain("");
    await work();
  } catch (error) {
    complain(`${error.message}. Nothing was changed; is 'pixloop review label --web' still running?`);
  } finally {
    state.busy = false;
  }
}

function send(said) {
  const item = current();
  if (!item) return;
  return attempt(async () => {
    await post({ sha256: item.sha256, ...said });
    state.done.push(state.place);
    state.place += 1;
    show();
  });
}

const finish = () => send({
  boxes: state.boxes.map(({ label, xyxy }) => ({ label, xyxy })),
});

function undo() {
  if (!state.done.length) return;
  return attempt(async () => {
    const place = state.done[state.done.length - 1];
    await post({ sha256: state.items[place].sha256, undo: true });
    state.done.pop();
    state.place = place;
    show();
  });
}

byId("skip").onclick = () => send({ skip: true });
byId("undo").onclick = undo;
byId("done").onclick = finish;
byId("delete").onclick = removeBox;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase(), boxes = state.task === "detection";
  if (key === "enter" && event.target.tagName === "BUTTON") return;  // it presses that button
  if (key === "u") undo();
  else if (!current()) return;
  else if (key >= "1" && key <= "9") { const found = ranked()[Number(key) - 1]; if (found) choose(found[0]); }
  else if (key === "s") send({ skip: true });
  else if (boxes && key === "enter") finish();
  else if (boxes && (key === "delete" || key === "backspace")) removeBox();
  else if (boxes && key === "escape") { state.picked = -1; drawBoxes(); }
  else return;
  event.preventDefault();
});

load().catch((error) => complain(`The pictures cannot be loaded: ${error.message}`));
