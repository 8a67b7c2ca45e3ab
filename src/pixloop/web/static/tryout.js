// The page /try: pictures are asked about two at a time, and shown in the order in which they came.
"use strict";

(() => {
  const MOST_CARDS = 50, AT_ONCE = 2, LIKELY = 4;
  const at = (id) => document.getElementById(id);
  const page = at("try"), list = at("list"), template = at("card");
  const mostBytes = Number(page.dataset.mostBytes);
  const classes = new Set(Array.from(document.querySelectorAll("#classes option"), (each) => each.value));
  const queue = [];
  let asking = 0, latest = null;
  answers.order(classes);

  // ---- who answers

  /** As the server reads it: "server", an address, or a version's number. */
  function chosenBy() {
    const kind = document.querySelector("input[name=by]:checked")?.value;
    if (kind === "version") return at("version").value;
    return kind === "server" ? "server" : at("address").value.trim();
  }

  function choose(kind) {
    document.querySelector(`input[name=by][value=${kind}]`).checked = true;
  }

  function showRequest() {
    const shown = new URLSearchParams({ by: chosenBy(), name: latest?.name || "", type: latest?.type || "image/jpeg" });
    htmx.ajax("GET", `/try/request?${shown}`, { target: "#request", swap: "innerHTML" });
  }

  at("version")?.addEventListener("change", () => choose("version"));
  at("address").addEventListener("input", () => choose("address"));
  at("by").addEventListener("change", showRequest);
  // A server that a page has started has an address only when it has begun.
  for (const name of ["jobs", "server"]) document.body.addEventListener(`pixloop:${name}`, showRequest);
  if (document.querySelector("#request [data-unknown]")) showRequest();

  // ---- pictures come

  function readable(bytes) {
    return bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : bytes >= 1e3 ? `${Math.round(bytes / 1e3)} kB` : `${bytes} B`;
  }

  function add(files) {
    const given = Array.from(files), room = MOST_CARDS - list.childElementCount;
    if (given.length > room) {
      pixloop.toast(`At most ${MOST_CARDS} pictures are shown: ${given.length - Math.max(room, 0)} are left out. Clear the page for more.`, "bad");
    }
    const made = given.slice(0, Math.max(room, 0)).map(makeCard);
    if (!made.length) return;
    latest = made.at(-1).file;
    at("answers").hidden = false;
    list.append(...made.map((card) => card.element));
    for (const card of made) ask(card);
    showRequest();
    made[0].element.scrollIntoView({ block: "nearest" });
  }

  function makeCard(file) {
    const element = template.content.firstElementChild.cloneNode(true);
    const find = (selector) => element.querySelector(selector);
    const card = { file, name: file.name || "pasted picture", element, find, by: "", answered: null, gone: false };
    find("h3").textContent = card.name;
    find(".remove").setAttribute("aria-label", `Remove ${card.name}`);
    find(".ask-why").setAttribute("aria-label", `Why? Which pixels of ${card.name} spoke for the answer`);
    find(".remove").addEventListener("click", () => remove(card));
    find(".ask-why").addEventListener("click", () => explain(card));
    find(".say")?.addEventListener("submit", (event) => { event.preventDefault(); report(card); });
    element.card = card;
    return card;
  }

  function remove(card) {
    const next = card.element.nextElementSibling || card.element.previousElementSibling;
    card.gone = true;
    card.element.remove();
    if (next) next.querySelector(".remove").focus();
    else at("drop").focus();
    showProgress();
  }

  function cards() {
    return Array.from(list.children, (element) => element.card);
  }

  at("clear").addEventListener("click", () => {
    for (const card of cards()) card.gone = true;
    list.replaceChildren();
    showProgress();
    at("drop").focus();
  });
  at("again").addEventListener("click", () => cards().forEach(ask));
  at("drop").addEventListener("click", () => at("files").click());
  at("photograph").addEventListener("click", () => at("camera").click());
  for (const id of ["files", "camera"]) {
    at(id).addEventListener("change", ({ target }) => {
      add(target.files);
      target.value = ""; // the same picture may be chosen again
    });
  }

  document.addEventListener("paste", (event) => {
    const files = event.clipboardData?.files || [];
    if (files.length) { event.preventDefault(); add(files); }
  });
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    page.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) page.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    page.classList.remove("over");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    add(event.dataTransfer.files);
  });

  // ---- they are asked about

  function ask(card) {
    card.by = chosenBy();
    card.answered = null;
    card.done = false;
    card.find(".then").hidden = true;
    card.find(".explained").replaceChildren();
    card.find(".outcome").replaceChildren();
    show(card, "Waits for its turn…");
    if (card.file.size > mostBytes) {
      finish(card, `The picture is ${readable(card.file.size)}; at most ${readable(mostBytes)} are taken.`);
    } else if (!card.by) {
      finish(card, "Give the server’s address above, then ask again.");
    } else if (!queue.includes(card)) queue.push(card);
    showProgress();
    work();
  }

  function show(card, text, bad = false) {
    answers.say(card.find(".shown"), { picture: card.file, name: card.name, text, bad });
  }

  function finish(card, problem) {
    card.done = true;
    if (problem) show(card, problem, true);
    showProgress();
  }

  function work() {
    while (asking < AT_ONCE && queue.length) {
      const card = queue.shift();
      if (card.gone) continue;
      asking += 1;
      predict(card).finally(() => { asking -= 1; work(); });
    }
  }

  async function predict(card) {
    const by = card.by;
    show(card, "Is being answered…");
    try {
      const answer = await pixloop.post(`/try/predict?by=${encodeURIComponent(by)}`, card.file, { "Content-Type": "application/octet-stream" });
      const answered = await answer.json();
      if (card.gone || card.by !== by) return;
      card.answered = answered;
      answers.show(card.find(".shown"), { picture: card.file, name: card.name, ...answered });
      offer(card);
      finish(card);
    } catch (error) {
      if (!card.gone && card.by === by) finish(card, said(error));
    }
  }

  function said(error) {
    // fetch's own words for it are of no use to a person.
    return error instanceof TypeError ? "The server does not answer. Is 'pixloop web' still running?" : error.message;
  }

  function showProgress() {
    const all = cards(), done = all.filter((card) => card.done).length;
    at("answers").hidden = !all.length;
    at("progress").textContent = done < all.length ? `${done} of ${all.length} done` : all.length === 1 ? "1 picture" : `${all.length} pictures`;
  }

  // ---- what can be done with an answer

  function offer(card) {
    const { answer, version } = card.answered, likely = card.find(".likely"), wrong = card.find(".wrong");
    card.find(".then").hidden = false;
    card.find(".why").hidden = !version;
    if (wrong) {
      wrong.open = false;
      wrong.hidden = ("boxes" in answer) !== (page.dataset.task === "detection");
    }
    if (!likely || !answer.probabilities) return;
    const others = Object.entries(answer.probabilities).filter(([name]) => name !== answer.label && classes.has(name));
    likely.replaceChildren(...others.sort((a, b) => b[1] - a[1]).slice(0, LIKELY).map(([name]) => suggestion(card, name)));
  }

  function suggestion(card, name) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = name;
    made.setAttribute("aria-pressed", "false");
    made.addEventListener("click", () => {
      card.find("input[name=said]").value = name;
      for (const each of card.find(".likely").children) each.setAttribute("aria-pressed", String(each === made));
    });
    return made;
  }

  function note(place, kind, text, link, linked) {
    const made = document.createElement("p");
    made.className = `notice ${kind}`;
    made.textContent = text;
    if (link) {
      const to = document.createElement("a");
      const told = document.createElement("span");
      told.className = "hidden";
      told.textContent = " (new tab)";
      to.href = link;
      to.target = "_blank"; // the other pictures stay
      to.rel = "noopener";
      to.append(linked, told);
      made.append(" ", to);
    }
    place.replaceChildren(made);
  }

  async function report(card) {
    const input = card.find("input[name=said]"), label = input ? input.value : "", place = card.find(".outcome");
    if (input && !classes.has(label)) {
      note(place, "bad", label ? `There is no class “${label}”: choose one of the list.` : "Choose what the picture shows first.");
      return input.focus();
    }
    const button = card.find(".say button.main");
    button.disabled = true;
    try {
      const asked = new URLSearchParams({ by: card.by, said: label });
      const found = await (await pixloop.post(`/try/wrong?${asked}`, card.file, { "Content-Type": "application/octet-stream" })).json();
      const text = found.status === "answered" ? "A person has answered this picture before; nothing was changed."
        : label ? `It is in the review queue, with “${label}” suggested.` : "It is in the review queue.";
      note(place, "good", text, found.review, "Open it in review");
      card.find(".wrong").open = false;
    } catch (error) {
      note(place, "bad", said(error));
    } finally {
      button.disabled = false;
    }
  }

  // ---- why

  async function explain(card) {
    const button = card.find(".ask-why"), place = card.find(".explained"), version = card.answered.version;
    button.disabled = true;
    const line = document.createElement("p"), moving = document.createElement("progress");
    line.className = "muted";
    line.setAttribute("role", "status");
    moving.setAttribute("aria-label", "Explaining");
    line.textContent = "Looks at what spoke for the answer…";
    place.replaceChildren(line, moving);
    try {
      const { why_not: reason, checked } = await (await fetch(`/try/explaining?by=${encodeURIComponent(version)}`)).json();
      if (reason) throw new Error(reason);
      if (!checked) line.textContent = `The first time for version ${version}: its methods are checked on its test pictures, which can take minutes. Later pictures take seconds.`;
      await readExplanation(card, version, place, line.textContent);
    } catch (error) {
      note(place, "bad", said(error));
    } finally {
      button.disabled = false;
      moving.remove();
    }
  }

  async function readExplanation(card, version, place, text) {
    const answer = await pixloop.post(`/try/explain?by=${encodeURIComponent(version)}`, card.file, { "Content-Type": "application/octet-stream" });
    const lines = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await lines.read();
      const parts = (rest + (value || "")).split("\n");
      rest = parts.pop();
      for (const each of parts) showTold(card, place, text, JSON.parse(each));
      if (card.gone) return lines.cancel();
      if (done) return;
    }
  }

  function showTold(card, place, text, told) {
    const line = place.querySelector("p");
    if (told.error) throw new Error(told.error);
    if (told.state) {
      const busy = told.state === "waiting" ? "Another picture is explained first." : text;
      line.removeAttribute("role"); // the seconds are for the eye
      line.textContent = `${busy} ${told.seconds} s`;
    } else if (told.done) {
      const count = told.done.pictures;
      line.textContent = `${told.done.method}, checked on ${count} test ${count === 1 ? "picture" : "pictures"} that this version carries. The brighter the colour, the more it spoke for the answer; what hardly spoke is dimmed.`;
    } else if (told.drawing) {
      const image = document.createElement("img");
      image.alt = `${card.name}, and beside it the pixels that spoke for ${told.label}`;
      image.src = `data:image/png;base64,${told.drawing}`;
      place.append(image);
    } else {
      const nothing = document.createElement("p");
      nothing.textContent = "Nothing was found, so there is nothing to explain.";
      place.append(nothing);
    }
  }
})();
