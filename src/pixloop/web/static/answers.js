// Draws one answer: the picture, the boxes on it, bars for the classes, the decision in words.
// It needs answers.css and nothing else, so that a page anywhere can use it. Names of files and of
// classes are strangers': they become text, never HTML.
"use strict";

const answers = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const TOP_CLASSES = 5, MOST_CLASSES = 200, MOST_CAPTIONS = 12, MOST_ROWS = 100, TINY_PX = 96;
  //: Labels in the order in which they were first seen: each has a colour of its own.
  const known = new Map();

  function make(tag, kind = "", text) {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function percent(share, digits = 0) {
    return `${(100 * share).toFixed(digits)}\u00a0%`;
  }

  /** Two shares as percent: with a digit, as beside bars, or with two where it takes them to tell them apart. */
  function apart(a, b) {
    const tells = (digits) => percent(a, digits) !== percent(b, digits) && ![a, b].some((each) => each < 1 && percent(each, digits) === percent(1, digits));
    const digits = tells(1) ? 1 : 2;
    return [percent(a, digits), percent(b, digits)];
  }

  // The golden angle: neighbours in the list are far apart on the wheel of colours.
  function colour(label) {
    if (!known.has(label)) known.set(label, known.size);
    return `oklch(0.5 0.17 ${(260 + 137.5 * known.get(label)) % 360})`;
  }

  /** The least score of a label: a number, null for "never", undefined where nobody said. */
  function least(threshold, label) {
    if (threshold === null || threshold === undefined || typeof threshold === "number") return threshold;
    return Object.hasOwn(threshold, label) ? threshold[label] : undefined;
  }

  /** What becomes of an answer, and why. */
  function decided({ label, score, decision }, threshold, referred = "referred to a person") {
    const needed = least(threshold, label), accepted = decision === "accept";
    const verdict = accepted ? "accepted" : referred;
    if (needed === undefined) return verdict;
    if (needed === null) return accepted ? verdict : `${verdict}: no score of ${label} is enough`;
    const [reached, limit] = apart(score, needed);
    if (reached === limit) return `${verdict}: ${reached} is ${accepted ? "just enough" : "just below what is enough"}`;
    return `${verdict}: ${reached} is ${accepted ? "above" : "below"} ${limit}`;
  }

  // ---- the picture

  function picture(source, name, alt) {
    const figure = make("figure", "answer-picture"), image = make("img");
    const own = source instanceof Blob, url = own ? URL.createObjectURL(source) : source;
    image.addEventListener("load", () => {
      if (own) URL.revokeObjectURL(url);
      if (!figure.style.getPropertyValue("--ratio")) setRatio(figure, image.naturalWidth, image.naturalHeight);
      figure.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= TINY_PX);
    });
    image.addEventListener("error", () => {
      if (own) URL.revokeObjectURL(url);
      image.remove();
      if (!figure.style.getPropertyValue("--ratio")) figure.classList.add("unseen"); // else it has boxes
      figure.prepend(make("p", "answer-unseen", `${name} cannot be shown by this browser.`));
    });
    image.alt = alt;
    image.decoding = "async";
    image.src = url;
    figure.append(image);
    return figure;
  }

  function setRatio(figure, width, height) {
    if (width > 0 && height > 0) figure.style.setProperty("--ratio", width / height);
  }

  function outline(box) {
    const [x1, y1, x2, y2] = box.xyxy, rect = document.createElementNS(SVG, "rect");
    const edges = { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) };
    for (const [name, value] of Object.entries(edges)) rect.setAttribute(name, value);
    rect.setAttribute("class", box.decision === "accept" ? "accept" : "refer");
    rect.style.stroke = colour(box.label);
    return rect;
  }

  function caption(box, { width, height }) {
    const [x1, y1, x2] = box.xyxy, toLeft = x1 > 0.7 * width, below = y1 < 0.08 * height;
    const made = make("span", "answer-caption", `${box.label} ${percent(box.score)}`);
    made.style.left = `${100 * (toLeft ? x2 : x1) / width}%`;
    made.style.top = `${100 * y1 / height}%`;
    made.style.background = colour(box.label);
    made.classList.toggle("to-left", toLeft);
    made.classList.toggle("below", below);
    return made;
  }

  /** The rectangles, in the order of the boxes. */
  function drawBoxes(figure, answer) {
    setRatio(figure, answer.width, answer.height);
    const overlay = document.createElementNS(SVG, "svg");
    overlay.setAttribute("viewBox", `0 0 ${answer.width} ${answer.height}`);
    overlay.setAttribute("preserveAspectRatio", "none");
    overlay.setAttribute("aria-hidden", "true");
    const rects = answer.boxes.map(outline);
    overlay.append(...rects.toReversed()); // the surest on top
    const captions = make("div", "answer-captions");
    captions.setAttribute("aria-hidden", "true");
    captions.append(...answer.boxes.slice(0, MOST_CAPTIONS).map((box) => caption(box, answer)).reverse());
    figure.append(overlay, captions);
    return rects;
  }

  // ---- what was answered, in words

  function verdict(text, accepted) {
    return make("p", `answer-verdict ${accepted ? "accept" : "refer"}`, text);
  }

  function bar([label, share], limit) {
    const row = make("li"), track = make("span", "answer-track"), fill = make("i");
    track.setAttribute("aria-hidden", "true");
    fill.style.width = `${100 * share}%`;
    track.append(fill);
    if (typeof limit === "number") {
      const mark = make("b");
      mark.style.left = `${100 * limit}%`;
      track.append(mark);
    }
    const name = make("span", "answer-label", label);
    name.title = label;
    row.append(name, track, make("span", "answer-share", percent(share, 1)));
    return row;
  }

  function more(count, content) {
    const made = make("details", "answer-more");
    made.append(make("summary", "", `and ${count} more`), content);
    return made;
  }

  function classBars(answer, threshold) {
    const ranked = Object.entries(answer.probabilities || { [answer.label]: answer.score }).sort((a, b) => b[1] - a[1]);
    const list = make("ol", "answer-bars"), rest = ranked.slice(TOP_CLASSES);
    list.setAttribute("aria-label", "The likeliest classes");
    const limit = least(threshold, answer.label);
    list.append(...ranked.slice(0, TOP_CLASSES).map((each) => bar(each, each[0] === answer.label ? limit : undefined)));
    if (!rest.length) return [list];
    const others = make("ol", "answer-bars");
    others.append(...rest.slice(0, MOST_CLASSES).map((each) => bar(each)));
    return [list, more(rest.length, others)];
  }

  function boxRow(box, rect, threshold) {
    const row = make("tr"), name = make("th"), sign = make("i", box.decision === "accept" ? "accept" : "refer");
    name.scope = "row";
    sign.style.borderColor = colour(box.label);
    name.append(sign, document.createTextNode(box.label));
    row.append(name, make("td", "answer-share", percent(box.score, 1)), make("td", "", decided(box, threshold, "referred")));
    row.addEventListener("pointerenter", () => rect.classList.add("on"));
    row.addEventListener("pointerleave", () => rect.classList.remove("on"));
    return row;
  }

  function boxTable(boxes, rects, threshold) {
    const table = make("table", "answer-boxes"), head = make("thead"), body = make("tbody"), names = make("tr");
    for (const each of ["Found", "Score", "Decision"]) {
      const cell = make("th", "", each);
      cell.scope = "col";
      names.append(cell);
    }
    head.append(names);
    body.append(...boxes.slice(0, MOST_ROWS).map((box, i) => boxRow(box, rects[i], threshold)));
    table.append(head, body);
    return table;
  }

  function countByLabel(boxes) {
    const counts = new Map();
    for (const { label } of boxes) counts.set(label, (counts.get(label) || 0) + 1);
    return [...counts].map(([label, count]) => `${count} × ${label}`).join(", ");
  }

  function showClass(answer, threshold) {
    return [
      make("p", "answer-title", answer.label),
      verdict(decided(answer, threshold), answer.decision === "accept"),
      ...classBars(answer, threshold),
    ];
  }

  function showBoxes(answer, rects, threshold) {
    const { boxes } = answer, referred = boxes.filter((box) => box.decision !== "accept").length;
    if (!boxes.length) {
      return [make("p", "answer-title", "Nothing found"), make("p", "answer-note", "No box is sure enough to be shown.")];
    }
    const accepted = boxes.length - referred;
    const words = referred === 0 ? `${accepted === 1 ? "the box is" : "all boxes are"} accepted`
      : accepted === 0 ? `${referred === 1 ? "the box is" : "all boxes are"} referred to a person`
      : `${accepted} accepted, ${referred} referred to a person`;
    const shown = [make("p", "answer-title", countByLabel(boxes)), verdict(words, referred === 0), boxTable(boxes, rects, threshold)];
    if (boxes.length > MOST_ROWS) shown.push(make("p", "answer-note", `and ${boxes.length - MOST_ROWS} more`));
    return shown;
  }

  function source({ model, latency_ms: took }) {
    const line = make("p", "answer-note");
    const parts = [model, typeof took === "number" ? `${took < 10 ? took.toFixed(1) : Math.round(took)} ms` : ""];
    line.textContent = parts.filter(Boolean).join(" · ");
    return line;
  }

  function summary(name, answer) {
    if (answer.boxes) return `${name}: ${answer.boxes.length ? countByLabel(answer.boxes) : "nothing found"}`;
    return `${name}: ${answer.label}, ${percent(answer.score)}`;
  }

  return {
    colour, percent,

    /** Have colours go by a model's classes, whichever is seen first. */
    order(labels) { for (const label of labels) colour(label); },

    /**
     * Draw an answer into an element, in the place of what is there.
     *
     * shown.picture: a Blob, or an address; shown.name: of its file; shown.answer: one prediction
     * as pixloop's server gives it; shown.model and shown.latency_ms: who answered, in what time;
     * shown.threshold: the least score that is accepted, or an object of label → score, where null
     * stands for "never"; undefined where it is not known.
     */
    show(element, shown) {
      const { name, answer, threshold } = shown;
      const figure = picture(shown.picture, name, summary(name, answer)), words = make("div", "answer-words");
      if (answer.boxes) words.append(...showBoxes(answer, drawBoxes(figure, answer), threshold));
      else words.append(...showClass(answer, threshold));
      words.append(source(shown));
      element.classList.add("answer");
      element.classList.toggle("boxed", Boolean(answer.boxes));
      element.replaceChildren(figure, words);
    },

    /** Show a picture without an answer: that it is waited for, or (bad) why there is none. */
    say(element, { picture: shown, name, text, bad = false }) {
      const words = make("div", "answer-words"), line = make("p", bad ? "answer-problem" : "answer-waiting", text);
      if (bad) line.setAttribute("role", "alert");
      words.append(line);
      element.classList.add("answer");
      element.classList.remove("boxed");
      element.replaceChildren(picture(shown, name, name), words);
    },
  };
})();
