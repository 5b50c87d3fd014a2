// The browser's side of canvas.py: a label map to paint on.
const SIDE = 320; // of the longer side, in pixels of the screen

function render({ model, el }) {
  const height = model.get("height"), width = model.get("width");
  const colours = model.get("colours");
  const scale = Math.max(1, Math.floor(SIDE / Math.max(height, width)));
  let map = new Uint8Array(height * width);

  const canvas = document.createElement("canvas");
  canvas.height = height * scale;
  canvas.width = width * scale;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "label map, painted with the mouse");
  canvas.style.cssText = "touch-action: none; cursor: crosshair; border: 1px solid #888";
  const context = canvas.getContext("2d");

  function fill(y, x) {
    context.fillStyle = colours[map[y * width + x]];
    context.fillRect(x * scale, y * scale, scale, scale);
  }

  function draw() {
    // A DataView of the kernel's bytes; copied, since painting changes it.
    const shared = model.get("pixels");
    map = new Uint8Array(shared.buffer, shared.byteOffset, shared.byteLength).slice();
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) fill(y, x);
  }

  function share() {
    model.set("pixels", new DataView(map.slice().buffer));
    model.save_changes();
  }

  // A square of the brush's width around a point of the map.
  function stamp(y, x) {
    const brush = model.get("brush"), label = model.get("label");
    const top = Math.round(y - brush / 2), left = Math.round(x - brush / 2);
    for (let j = Math.max(0, top); j < Math.min(height, top + brush); j++)
      for (let i = Math.max(0, left); i < Math.min(width, left + brush); i++) {
        map[j * width + i] = label;
        fill(j, i);
      }
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [
      ((event.clientY - box.top) * height) / box.height,
      ((event.clientX - box.left) * width) / box.width,
    ];
  }

  let last = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    stamp(...last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last === null) return;
    // A fast pointer skips pixels: the line from its last place.
    const next = place(event);
    const steps = Math.ceil(Math.max(Math.abs(next[0] - last[0]), Math.abs(next[1] - last[1]), 1));
    for (let i = 1; i <= steps; i++)
      stamp(last[0] + ((next[0] - last[0]) * i) / steps, last[1] + ((next[1] - last[1]) * i) / steps);
    last = next;
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, () => {
      if (last === null) return;
      last = null;
      share();
    });

  function labelled(text, control) {
    const whole = document.createElement("label");
    whole.style.cssText = "margin-right: 1em";
    whole.append(text + " ", control);
    return whole;
  }

  const label = document.createElement("select");
  model.get("labels").forEach((name, i) => {
    const option = new Option(name, i);
    option.style.borderLeft = `1em solid ${colours[i]}`;
    label.append(option);
  });
  const sample = document.createElement("span");
  sample.style.cssText = "display: inline-block; width: 1em; height: 1em; margin-right: 1em; border: 1px solid #888";
  const brush = document.createElement("input");
  Object.assign(brush, { type: "range", min: 1, max: Math.max(2, Math.floor(Math.max(height, width) / 4)) });
  const clear = document.createElement("button");
  clear.textContent = "fill";
  clear.title = "the whole map with the chosen label";

  function choose() {
    label.value = model.get("label");
    brush.value = model.get("brush");
    sample.style.background = colours[model.get("label")];
  }
  for (const [name, control] of [["label", label], ["brush", brush]])
    control.addEventListener("input", () => {
      model.set(name, Number(control.value));
      model.save_changes();
    });
  clear.addEventListener("click", () => {
    map.fill(model.get("label"));
    share();
  });

  const controls = document.createElement("div");
  controls.append(labelled("label", label), sample, labelled("brush", brush), clear);
  el.append(controls, canvas);
  model.on("change:pixels", draw);
  model.on("change:label", choose);
  model.on("change:brush", choose);
  choose();
  draw();
  return () => {
    model.off("change:pixels", draw);
    model.off("change:label", choose);
    model.off("change:brush", choose);
  };
}

export default { render };
