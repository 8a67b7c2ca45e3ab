// The box editor: boxes over a picture, in pixels of the upright picture. Draw by dragging, pick by
// clicking, move and resize the picked one, or do all of it by keys.
"use strict";

const boxEditor = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const LEAST_PX = 5; // shorter drags, on the screen, are clicks
  const CORNERS = [["x1", "y1"], ["x2", "y1"], ["x1", "y2"], ["x2", "y2"]];
  const EDGES = { x1: 0, y1: 1, x2: 2, y2: 3 };

  /** colour(label) gives a colour; changed() is called when boxes or the picked one did. */
  return function make(layer, picture, { colour, changed }) {
    let boxes = [], picked = -1, label = "", touched = false, drag = null;

    const between = (value, least, most) => Math.min(Math.max(value, least), most);
    const scale = () => picture.naturalWidth / (picture.clientWidth || 1); // picture pixels a screen pixel

    function element(name, attributes) {
      const made = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      return made;
    }

    function draw() {
      if (!picture.naturalWidth) return layer.replaceChildren();
      layer.setAttribute("viewBox", `0 0 ${picture.naturalWidth} ${picture.naturalHeight}`);
      layer.setAttribute("preserveAspectRatio", "none");
      const shown = boxes.map(outline);
      if (drag && drag.kind === "draw" && drag.now) shown.push(outline({ label, xyxy: sorted([...drag.from, ...drag.now]) }, boxes.length));
      if (picked >= 0) shown.push(...handles(boxes[picked]));
      layer.replaceChildren(...shown);
    }

    function outline(box, place) {
      const [x1, y1, x2, y2] = box.xyxy;
      const rect = element("rect", { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) });
      rect.style.stroke = colour(box.label);
      rect.classList.toggle("picked", place === picked);
      rect.classList.toggle("referred", box.decision === "refer");
      rect.dataset.place = place;
      const title = element("title", {});
      title.textContent = words(box);
      rect.append(title);
      return rect;
    }

    function handles(box) {
      return CORNERS.map(([x, y]) => {
        const made = element("circle", { cx: box.xyxy[EDGES[x]], cy: box.xyxy[EDGES[y]], r: 7 * scale() });
        made.style.fill = colour(box.label);
        made.dataset.corner = `${x} ${y}`;
        return made;
      });
    }

    const words = (box) => (typeof box.score === "number" ? `${box.label} ${Math.round(100 * box.score)}\u00a0%` : box.label);
    const sorted = ([x1, y1, x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];

    function at(event) {
      const frame = picture.getBoundingClientRect();
      return [
        between((event.clientX - frame.left) / frame.width * picture.naturalWidth, 0, picture.naturalWidth),
        between((event.clientY - frame.top) / frame.height * picture.naturalHeight, 0, picture.naturalHeight),
      ];
    }

    /** What a person has moved is no longer what the model was unsure of. */
    function reshape(place, xyxy) {
      const { label: name } = boxes[place];
      boxes[place] = { label: name, xyxy };
      touched = true;
    }

    function moved([x1, y1, x2, y2], dx, dy) {
      const right = between(dx, -x1, picture.naturalWidth - x2), down = between(dy, -y1, picture.naturalHeight - y2);
      return [x1 + right, y1 + down, x2 + right, y2 + down];
    }

    function begin(event) {
      if (event.button || drag) return;
      const from = at(event), { place, corner } = event.target.dataset;
      if (corner !== undefined) drag = { kind: "resize", corner: corner.split(" "), xyxy: [...boxes[picked].xyxy] };
      else if (place !== undefined && Number(place) === picked) drag = { kind: "move", xyxy: [...boxes[picked].xyxy] };
      else drag = { kind: "draw", over: place === undefined ? -1 : Number(place) };
      drag.from = from;
      layer.setPointerCapture(event.pointerId);
      event.preventDefault();
    }

    function go(event) {
      if (!drag) return;
      const now = at(event), dx = now[0] - drag.from[0], dy = now[1] - drag.from[1];
      if (!drag.now && Math.hypot(dx, dy) < LEAST_PX * scale()) return;
      drag.now = now;
      if (drag.kind === "move") reshape(picked, moved(drag.xyxy, dx, dy));
      if (drag.kind === "resize") {
        const xyxy = [...drag.xyxy];
        xyxy[EDGES[drag.corner[0]]] = now[0];
        xyxy[EDGES[drag.corner[1]]] = now[1];
        reshape(picked, sorted(xyxy));
      }
      draw();
    }

    function end(event) {
      if (!drag) return;
      const done = drag;
      drag = null;
      if (done.kind === "draw") {
        const xyxy = sorted([...done.from, ...at(event)]), least = LEAST_PX * scale();
        if (xyxy[2] - xyxy[0] < least || xyxy[3] - xyxy[1] < least) pick(done.over);
        else add(xyxy);
      } else if (done.kind === "move" && !done.now) pick(picked);
      draw();
      changed();
    }

    function cancel() {
      if (drag && drag.xyxy) boxes[picked] = { ...boxes[picked], xyxy: drag.xyxy };
      drag = null;
      draw();
    }

    function add(xyxy) {
      boxes.push({ label, xyxy });
      picked = boxes.length - 1;
      touched = true;
    }

    function pick(place) {
      picked = place >= 0 && place < boxes.length ? place : -1;
      if (picked >= 0) label = boxes[picked].label;
    }

    function refresh() { draw(); changed(); }

    layer.addEventListener("pointerdown", begin);
    layer.addEventListener("pointermove", go);
    layer.addEventListener("pointerup", end);
    layer.addEventListener("pointercancel", cancel);
    new ResizeObserver(draw).observe(picture);

    const editor = {
      get boxes() { return boxes; },
      get picked() { return picked; },
      get label() { return label; },
      get touched() { return touched; },
      words,

      /** Begin with boxes; a label for what is drawn next. */
      show(given, first) {
        boxes = given.map((box) => ({ ...box, xyxy: [...box.xyxy] }));
        picked = -1;
        drag = null;
        touched = false;
        label = label || first;
        refresh();
      },

      draw,
      pick(place) { pick(place); refresh(); },

      /** Draw with this class from now on; the picked box becomes one of it. */
      name(chosen) {
        label = chosen;
        if (picked >= 0 && boxes[picked].label !== chosen) {
          boxes[picked] = { label: chosen, xyxy: boxes[picked].xyxy };
          touched = true;
        }
        refresh();
      },

      remove() {
        if (picked < 0) return;
        boxes.splice(picked, 1);
        picked = -1;
        touched = true;
        refresh();
      },

      addInTheMiddle() {
        const width = picture.naturalWidth, height = picture.naturalHeight;
        if (!width) return;
        add([0.35 * width, 0.35 * height, 0.65 * width, 0.65 * height]);
        refresh();
      },

      /** An arrow moves the picked box, or with Shift its lower right corner; false where none is picked. */
      arrow(key, shift) {
        if (picked < 0) return false;
        const step = Math.max(1, picture.naturalWidth / 100);
        const dx = { ArrowLeft: -step, ArrowRight: step }[key] || 0, dy = { ArrowUp: -step, ArrowDown: step }[key] || 0;
        const [x1, y1, x2, y2] = boxes[picked].xyxy;
        reshape(picked, shift
          ? [x1, y1, between(x2 + dx, x1 + 1, picture.naturalWidth), between(y2 + dy, y1 + 1, picture.naturalHeight)]
          : moved(boxes[picked].xyxy, dx, dy));
        refresh();
        return true;
      },
    };
    return editor;
  };
})();
