// The exported Try page: pictures go to the server it was made for, answers come onto the page.
// Names of files, and whatever the server says, become text, never HTML.
"use strict";

(() => {
  const settings = JSON.parse(document.getElementById("content").dataset.settings);
  const AT_ONCE = 3, TRIES = 4, WAIT_MS = 1000, KEPT = 50;
  const KNOWN_TYPES = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif", "image/tiff"];
  const list = document.getElementById("answered"), section = document.getElementById("answers");
  const drop = document.getElementById("drop"), progress = document.getElementById("progress");
  const waiting = [];
  let atWork = 0, sent = 0, answered = 0, failed = 0;
  answers.order(settings.classes);

  // ---- asking

  function pause(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  /** What the server says went wrong: a problem document's words, or its status. */
  async function words(answer) {
    try { return (await answer.json()).detail || `The server answered ${answer.status}.`; }
    catch { return `The server answered ${answer.status}.`; }
  }

  async function post(picture) {
    const type = KNOWN_TYPES.includes(picture.type) ? picture.type : "application/x-image";
    const asked = { method: "POST", body: picture, headers: { "Content-Type": type }, credentials: "omit", referrerPolicy: "no-referrer" };
    try { return await fetch(settings.server, asked); }
    catch { throw new Error(`${settings.server} does not answer, or does not let this page ask. If it runs, set serving.allow_origin: ${location.origin} in its project's pixloop.yaml, and start it again.`); }
  }

  async function ask(picture) {
    if (picture.type && !picture.type.startsWith("image/")) throw new Error("This is no picture.");
    if (picture.size > settings.max_bytes) {
      throw new Error(`This is ${(picture.size / 1e6).toFixed(1)} MB; the server takes ${(settings.max_bytes / 1e6).toFixed(1)} MB at most.`);
    }
    for (let left = TRIES - 1; ; left--) {
      const started = performance.now(), answer = await post(picture);
      if (left > 0 && (answer.status === 503 || answer.status === 429)) { await pause(WAIT_MS); continue; }
      if (!answer.ok) throw new Error(await words(answer));
      const { model, predictions } = await answer.json();
      return { model, answer: predictions[0], latency_ms: performance.now() - started };
    }
  }

  // ---- the page

  function add(picture) {
    const item = document.createElement("li"), title = document.createElement("h3"), body = document.createElement("div");
    const name = picture.name || "Pasted picture";
    item.className = "card";
    title.className = "picture-name";
    title.textContent = name;
    item.append(title, body);
    answers.say(body, { picture, name, text: "Waiting for the answer …" });
    return { picture, name, item, body };
  }

  /** Those that were chosen together, in their order, before those that came earlier. */
  function put(cards) {
    list.prepend(...cards.map((card) => card.item));
    while (list.children.length > KEPT) list.lastElementChild.remove();
  }

  async function answerOne({ picture, name, body }) {
    try {
      const found = await ask(picture);
      // Another model than the one that the page was made of has other thresholds.
      const threshold = found.model === settings.model ? settings.threshold : undefined;
      answers.show(body, { picture, name, threshold, ...found });
      answered++;
    } catch (error) {
      answers.say(body, { picture, name, text: error.message, bad: true });
      failed++;
    }
  }

  function tell() {
    const ended = answered + failed === sent;
    const told = failed && ended ? answered || "none" : `${answered} of ${sent}`;
    progress.textContent = sent === 0 ? "" : `${told} answered${failed ? `, ${failed} failed` : ""}`;
  }

  async function work() {
    if (atWork >= AT_ONCE) return;
    atWork++;
    while (waiting.length) {
      await answerOne(waiting.shift());
      tell();
    }
    atWork--;
  }

  function take(files) {
    const pictures = [...files];
    if (!pictures.length) return;
    section.hidden = false;
    if (answered + failed === sent) sent = answered = failed = 0;
    sent += pictures.length;
    const cards = pictures.map(add);
    put(cards);
    waiting.push(...cards);
    tell();
    for (let i = 0; i < Math.min(AT_ONCE, pictures.length); i++) work();
  }

  // ---- how pictures come

  for (const id of ["choose", "photograph"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => { take(input.files); input.value = ""; });
  }
  document.addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files);
  });
  document.getElementById("clear").addEventListener("click", () => {
    waiting.length = 0;
    sent = atWork; // what is at work comes to its end
    answered = failed = 0;
    progress.textContent = "";
    list.replaceChildren();
    section.hidden = true;
    document.getElementById("choose").focus();
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try { await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent); button.textContent = "Copied"; }
    catch { button.textContent = "Select it and copy"; }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
})();
