// Labelling: asks the server what is to be answered, shows one picture at a time, and sends what was
// said. Names, reasons and answers are other people's text: they are set as text, never as HTML.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const work = byId("work");
  if (!work) return; // there is no model to answer by

  const SESSION = "pixloop.review.session", WHO = "pixloop.review.who";
  const NUMBERS = "1234567890";
  const LETTERS = { classification: "abcdefhijklmnopqrtvwxyz", detection: "abcdefhijklmopqrtvwxyz" }; // g, s, u and n do something else
  const AHEAD = 2; // pictures that are loaded before they are shown

  const state = {
    items: [], place: 0, task: "", classes: [], colours: [], counts: {}, canUndo: false, busy: false, conflict: null,
    session: Number(sessionStorage.getItem(SESSION)) || 0,
  };
  const colour = (name) => state.colours[Math.max(0, state.classes.indexOf(name))];
  const editor = byId("boxes") && boxEditor(byId("boxes"), byId("picture"), { colour, changed: showBoxWords });
  const current = () => state.items[state.place];
  const isOpen = (item) => (item.status === "asked" || item.status === "waiting") && !item.barred;
  const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
  const who = () => localStorage.getItem(WHO) || work.dataset.annotator;

  function element(name, text, attributes = {}) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  // ---- what is asked

  async function get(path) {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(await pixloop.words(answer));
    return answer.json();
  }

  const asking = (skip) => get(`/review/asked?${new URLSearchParams({ skip, annotator: who() })}`);

  async function load() {
    const found = await asking(0);
    const wanted = work.dataset.picture;
    take(found);
    state.items = found.items;
    if (wanted) {
      const item = await get(`/review/items/${wanted}?${new URLSearchParams({ annotator: who() })}`);
      state.items = [item, ...state.items.filter((each) => each.sha256 !== item.sha256)];
    }
    state.place = 0;
    show();
  }

  function take(found) {
    Object.assign(state, { counts: found.counts, canUndo: found.can_undo });
    if (found.classes) Object.assign(state, { task: found.task, classes: found.classes, colours: found.colours });
  }

  /** More than one batch is asked: fetch what follows. */
  async function loadMore() {
    const open = state.items.filter((item) => item.status === "asked");
    if (open.length >= state.counts.asked) return;
    const found = await asking(open.length);
    take(found);
    add(found.items);
    showProgress();
  }

  function add(items) {
    const known = new Set(state.items.map((item) => item.sha256));
    state.items.push(...items.filter((item) => !known.has(item.sha256)));
  }

  /** Somebody else answered, asked more, or took something back. */
  async function hear() {
    if (state.busy) return hearSoon();
    const found = await asking(0);
    if (state.busy) return hearSoon(); // an answer went out meanwhile, and knows better
    const before = current(), asked = new Set(found.items.map((item) => item.sha256));
    const all = found.items.length >= found.counts.asked;
    take(found);
    const gone = (item) => all && item.status === "asked" && !asked.has(item.sha256);
    state.items = state.items.filter((item) => item === before || !gone(item));
    for (const item of state.items) if (asked.has(item.sha256) && item.status !== "asked" && item !== before) item.status = "asked";
    add(found.items);
    if (before) state.place = state.items.indexOf(before);
    if (before && gone(before)) await tellOfElsewhere(before);
    else if (!before && state.items.some(isOpen)) { state.place = state.items.findIndex(isOpen); show(); }
    showProgress();
    if (!current()) showEnd();
  }

  async function tellOfElsewhere(item) {
    Object.assign(item, await get(`/review/items/${item.sha256}?${new URLSearchParams({ annotator: who() })}`));
    if (item !== current() || isOpen(item)) return;
    const [last] = item.answers.slice(-1);
    notice(last ? `Meanwhile ${last.by || "somebody"} answered: ${last.said}. An answer of yours would stand beside it.` : `Meanwhile this picture was ${item.status} elsewhere.`, [["Go on", advance]]);
  }

  // ---- showing

  function notice(text, buttons = []) {
    const box = byId("notice");
    box.hidden = !text;
    box.replaceChildren(text);
    for (const [label, act] of buttons) {
      const button = element("button", label, { type: "button" });
      button.onclick = act;
      box.append(" ", button);
    }
  }

  function show() {
    const item = current();
    notice("");
    state.conflict = null;
    work.hidden = !item;
    byId("end").hidden = Boolean(item);
    showProgress();
    if (!item) return showEnd();
    const picture = byId("picture");
    if (!picture.src.endsWith(address(item))) picture.src = address(item);
    picture.alt = `The picture that is asked, ${item.sha256.slice(0, 8)}`;
    showWhy(item);
    byId("find").value = "";
    if (editor) editor.show(item.mine && item.mine.boxes ? item.mine.boxes : item.answer.boxes, state.classes[0]);
    showClasses();
    if (item.barred) notice(item.barred);
    for (const next of state.items.slice(state.place + 1, state.place + 1 + AHEAD)) new Image().src = address(next);
    if (state.items.length - state.place < 10) loadMore().catch(complain);
  }

  const address = (item) => `/review/pictures/${item.sha256}`;

  byId("picture").addEventListener("load", () => {
    const picture = byId("picture"), frame = byId("picture-frame").style; // small pictures are shown larger, and none leaves the window
    frame.setProperty("--natural", `${picture.naturalWidth}px`);
    frame.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
    byId("picture-frame").classList.toggle("tiny", Math.max(picture.naturalWidth, picture.naturalHeight) <= 96);
    if (editor) editor.draw();
  });
  byId("picture").addEventListener("error", () => notice("This picture cannot be shown. Press s to say that one cannot say."));

  function showProgress() {
    const { asked = 0, answered = 0, skipped = 0 } = state.counts, done = answered + skipped, whole = state.session + asked;
    byId("progress").textContent = `${state.session} of ${whole} in this sitting, ${done} of ${done + asked} in all`;
    byId("progress-bar").style.width = `${whole ? 100 * state.session / whole : 0}%`;
    for (const id of ["undo", "end-undo"]) byId(id).disabled = !state.canUndo;
    byId("before").disabled = state.place <= 0;
    byId("after").disabled = state.place >= state.items.length - 1;
    byId("who-name").textContent = who();
  }

  function showWhy(item) {
    byId("reasons").replaceChildren(...item.why.map((why) => {
      const line = element("li");
      line.append(element("b", why.title), why.detail ? `: ${why.detail}` : "");
      return line;
    }));
    const known = [
      item.given && `Labelled ${item.given} in the data.`,
      item.said && `Said to be ${item.said}.`,
      ...item.answers.map((each) => `${each.by === who() ? "You" : each.by || "Somebody"} answered: ${each.said}.`),
    ].filter(Boolean);
    byId("known").hidden = !known.length;
    byId("known").textContent = known.join(" ");
    byId("origin").textContent = [
      item.model && `${item.model} said ${item.answered}`, item.at && new Date(item.at).toLocaleString(), item.drawn === "random" && "it judges the model",
    ].filter(Boolean).join(" · ");
  }

  /** Classes by key: of a classification the most probable first. */
  function ranked() {
    if (editor) return state.classes.map((name) => [name, null]);
    const shares = current().answer.probabilities;
    return state.classes.map((name) => [name, Object.hasOwn(shares, name) ? shares[name] : 0]).sort((a, b) => b[1] - a[1]);
  }

  const keyOf = (place) => (NUMBERS + LETTERS[state.task])[place];

  /** What Enter confirms: what was said of the picture already. */
  function preselected() {
    const item = current();
    if (editor) return editor.label;
    const said = item.mine ? item.mine.label : item.said;
    return state.classes.includes(said) ? said : null;
  }

  function showClasses() {
    const wanted = byId("find").value.trim().toLowerCase(), marked = preselected();
    byId("find-row").hidden = state.classes.length <= NUMBERS.length;
    const rows = ranked().map((each, place) => [...each, keyOf(place)]).filter(([name]) => name.toLowerCase().includes(wanted));
    byId("classes").replaceChildren(...rows.map(([name, share, key]) => classButton(name, share, key, name === marked)));
    byId("hint").textContent = hint(marked);
  }

  function classButton(name, share, key, marked) {
    const button = element("button", undefined, { type: "button" });
    const first = share === null ? element("i") : element("kbd", key || "");
    if (share === null) first.style.background = colour(name);
    if (share !== null && !key) first.className = "none";
    button.append(first, element("span", name, { class: "label" }));
    if (share === null) button.append(key ? element("kbd", key) : "");
    else {
      const bar = element("span", undefined, { class: "share" });
      bar.style.width = `${100 * share}%`;
      button.append(element("span", percent(share), { class: "muted num" }), bar);
    }
    if (key) button.setAttribute("aria-keyshortcuts", key);
    button.classList.toggle("marked", marked);
    button.setAttribute("aria-pressed", marked);
    button.disabled = Boolean(current().barred);
    button.onclick = () => choose(name);
    return button;
  }

  function hint(marked) {
    if (editor) return "Drag to draw a box of the marked class. Click one to pick it: then drag it or its corners, and a class renames it.";
    const confirm = marked ? `Enter confirms ${marked}. ` : "";
    return `${confirm}A key or a touch answers; the likeliest class comes first.`;
  }

  function showBoxWords() {
    if (!current()) return;
    showClasses();
    byId("delete").disabled = editor.picked < 0;
    byId("box-list").replaceChildren(...editor.boxes.map((box, place) => {
      const line = element("li"), button = element("button", editor.words(box), { type: "button", class: "quiet", "aria-pressed": place === editor.picked });
      const swatch = element("i");
      swatch.style.background = colour(box.label);
      button.prepend(swatch);
      button.onclick = () => { editor.pick(place); byId("box-list").children[place].firstChild.focus(); };
      line.append(button);
      return line;
    }));
  }

  function showEnd() {
    const waiting = state.counts.waiting || 0, budget = Math.min(waiting, 50);
    work.hidden = true;
    byId("end").hidden = false;
    byId("end-title").textContent = "Nothing is asked";
    byId("end-text").textContent = waiting
      ? `${state.session ? `${state.session} answered in this sitting. ` : ""}${waiting} wait${waiting === 1 ? "s" : ""}: the next ones are chosen such that they differ.`
      : "Nothing waits either. The gallery has a button that looks for more; a run learns from the answers.";
    byId("more").hidden = !waiting;
    byId("more").textContent = `Ask the next ${budget}`;
    byId("more").dataset.budget = budget;
  }

  // ---- answering

  function complain(error) {
    const lost = error instanceof TypeError; // what fetch throws where nobody answers
    notice(lost ? "The server does not answer. Is 'pixloop web' still running? Nothing was lost: answer again when it does." : `${error.message} Nothing was changed.`);
  }

  async function attempt(action) {
    if (state.busy) return; // a key that is held down answers one picture, not many
    state.busy = true;
    try { await action(); } catch (error) { complain(error); } finally { state.busy = false; }
  }

  function choose(name) {
    byId("find").value = "";
    if (!editor) return send({ label: name });
    editor.name(name);
  }

  const finish = () => send({ boxes: editor.boxes.map(({ label, xyxy }) => ({ label, xyxy })) });

  function send(said) {
    const item = current();
    if (!item || item.barred) return;
    return attempt(async () => {
      const outcome = await pixloop.postJson("/review/answers", { sha256: item.sha256, seen: item.status, annotator: who(), ...said });
      const first = isOpen(item);
      Object.assign(item, outcome.item);
      take(outcome);
      if (!outcome.kept && !outcome.agreed) return showConflict(outcome.conflict, said);
      if (!outcome.kept) pixloop.toast(`${outcome.conflict} You agree.`);
      else if (first) count(1);
      advance();
    });
  }

  /** What was said stays on the screen, and in the buttons, until a person decides. */
  function showConflict(words, said) {
    showProgress();
    showWhy(current());
    const mine = said.label || (said.skip ? "cannot say" : "these boxes");
    notice(`${words} Yours was not kept yet.`, [[`Keep mine too: ${mine}`, () => send(said)], ["Leave it at that", advance]]);
    byId("notice").querySelector("button").focus();
  }

  function advance() {
    const after = state.items.findIndex((item, place) => place > state.place && isOpen(item));
    const next = after >= 0 ? after : state.items.findIndex(isOpen);
    state.place = next >= 0 ? next : state.items.length;
    if (document.activeElement && document.activeElement.matches("#work button, #notice button")) document.activeElement.blur();
    show();
    if (!current()) {
      byId("end-title").focus();
      if (state.counts.asked) loadMore().then(() => { if (state.items.some(isOpen)) advance(); }).catch(complain);
    }
  }

  function step(by) {
    const place = state.place + by;
    if (place < 0 || place >= state.items.length) return;
    state.place = place;
    show();
  }

  function undo() {
    if (!state.canUndo) return;
    return attempt(async () => {
      const outcome = await pixloop.postJson("/review/undo", { annotator: who() });
      take(outcome);
      count(-1);
      const known = state.items.findIndex((item) => item.sha256 === outcome.item.sha256);
      if (known >= 0) state.items[known] = outcome.item;
      else state.items.unshift(outcome.item);
      state.place = Math.max(known, 0);
      show();
    });
  }

  function count(by) {
    state.session = Math.max(0, state.session + by);
    sessionStorage.setItem(SESSION, state.session);
  }

  function askMore() {
    return attempt(async () => {
      byId("more").disabled = true;
      try {
        await pixloop.post("/review/next", new URLSearchParams({ budget: byId("more").dataset.budget }));
        const found = await asking(0);
        take(found);
        add(found.items);
        state.place = state.items.findIndex(isOpen);
        if (state.place < 0) state.place = state.items.length;
        show();
      } finally { byId("more").disabled = false; }
    });
  }

  // ---- by mouse, touch and keys

  byId("skip").onclick = () => send({ skip: true });
  byId("undo").onclick = byId("end-undo").onclick = undo;
  byId("before").onclick = () => step(-1);
  byId("after").onclick = () => step(1);
  byId("more").onclick = askMore;
  if (editor) { byId("done").onclick = finish; byId("delete").onclick = editor.remove; }

  byId("find").addEventListener("input", showClasses);
  byId("find").addEventListener("keydown", (event) => {
    const first = byId("classes").querySelector("button");
    if (event.key === "Escape") { byId("find").value = ""; byId("find").blur(); showClasses(); }
    else if (event.key === "Enter" && byId("find").value.trim() && first) { byId("find").blur(); first.click(); }
    else return;
    event.preventDefault();
  });

  byId("who-form").addEventListener("submit", (event) => {
    const name = byId("who-input").value.trim();
    if (event.submitter && event.submitter.value === "take" && name) { localStorage.setItem(WHO, name); location.reload(); }
  });
  byId("who-input").value = who();

  function pressed(key, event) {
    if (key === "u") return undo();
    const item = current();
    if (!item) return key === "Enter" && !byId("more").hidden ? askMore() : false;
    if (key === "s") return send({ skip: true });
    if (key === "/") return byId("find-row").hidden ? false : byId("find").focus();
    if (key.startsWith("Arrow")) return arrow(key, event.shiftKey);
    if (editor && boxKey(key)) return true;
    if (key === "Enter" && !editor && preselected()) return send({ label: preselected() });
    const place = (NUMBERS + LETTERS[state.task]).indexOf(key);
    const found = key.length === 1 && place >= 0 ? ranked()[place] : undefined;
    return found ? choose(found[0]) : false;
  }

  function arrow(key, shift) {
    if (editor && editor.arrow(key, shift)) return true;
    if (key === "ArrowLeft") return step(-1);
    return key === "ArrowRight" ? step(1) : false;
  }

  function boxKey(key) {
    if (key === "Enter") finish();
    else if (key === "Delete" || key === "Backspace") editor.remove();
    else if (key === "Escape") editor.pick(-1);
    else if (key === "n") editor.addInTheMiddle();
    else return false;
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (pixloop.isTaken(event) || (event.repeat && !event.key.startsWith("Arrow"))) return;
    if (event.key === "Enter" && event.target.closest("button, a, summary")) return; // it presses that
    if (pressed(event.key.length === 1 ? event.key.toLowerCase() : event.key, event) !== false) event.preventDefault();
  });

  let heard = 0;

  function hearSoon() {
    clearTimeout(heard);
    heard = setTimeout(() => hear().catch(complain), 400);
  }

  document.body.addEventListener("pixloop:review", hearSoon);

  attempt(load);
})();
