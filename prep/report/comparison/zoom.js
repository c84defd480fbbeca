// Zooms and moves all pictures of a row at once: by wheel, two fingers, dragging or keys.
"use strict";
const MOST = 24, STEP = 1.25, SHIFT = 0.1;

for (const row of document.querySelectorAll(".row")) {
  const box = row.querySelector("input");
  const fingers = new Map(); // where each pointer is, of those that are down
  let zoom = 1, x = 0, y = 0; // x, y: how far pictures are moved, in parts of a frame
  let dragged = false;

  const show = () => {
    const most = (1 - 1 / zoom) / 2;
    x = Math.min(most, Math.max(-most, x));
    y = Math.min(most, Math.max(-most, y));
    for (const [name, value] of Object.entries({ zoom, x, y })) row.style.setProperty(`--${name}`, value);
    row.classList.toggle("zoomed", zoom > 1);
  };
  const reset = () => { zoom = 1; show(); };
  const move = (right, down) => { x += right / zoom; y += down / zoom; show(); };
  // the point (right, down) of the frames, in parts of them from their middle, stays where it is
  const zoomBy = (factor, right = 0, down = 0) => {
    const to = Math.min(MOST, Math.max(1, zoom * factor));
    x += right / to - right / zoom;
    y += down / to - down / zoom;
    zoom = to;
    show();
  };
  const within = (frame, point) => {
    const at = frame.getBoundingClientRect();
    return [(point.clientX - at.left) / at.width - 0.5, (point.clientY - at.top) / at.height - 0.5];
  };

  row.addEventListener("wheel", (event) => {
    const frame = event.target.closest(".frame");
    if (!frame || !(box.checked || event.ctrlKey)) return; // the page scrolls
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    zoomBy(2 ** (-event.deltaY * lines / (event.ctrlKey ? 100 : 400)), ...within(frame, event));
  }, { passive: false });

  for (const frame of row.querySelectorAll(".frame")) {
    frame.addEventListener("dragstart", (event) => event.preventDefault());
    frame.addEventListener("pointerdown", (event) => {
      if (event.button) return; // a menu opens, and nobody tells when the button is up again
      if (!fingers.size) dragged = false;
      fingers.set(event.pointerId, event);
    });
    frame.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const { width, height } = frame.getBoundingClientRect();
      const right = event.clientX - before.clientX, down = event.clientY - before.clientY;
      if (fingers.size === 1 && zoom === 1) return;
      if (!dragged && Math.hypot(right, down) < 4) return; // a hand that trembles
      if (!dragged) frame.setPointerCapture(event.pointerId);
      dragged = true;
      const other = [...fingers.values()].find((one) => one.pointerId !== event.pointerId);
      if (other) {
        const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
        const middle = {
          clientX: (before.clientX + other.clientX) / 2, clientY: (before.clientY + other.clientY) / 2,
        };
        zoomBy(apart(event) / Math.max(apart(before), 1), ...within(frame, middle));
      }
      move(right / width / fingers.size, down / height / fingers.size);
      fingers.set(event.pointerId, event);
    });
  }
  for (const name of ["pointerup", "pointercancel"]) {
    document.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }
  // what ends a drag is no choice of a picture
  row.addEventListener("click", (event) => {
    if (dragged && event.target.closest(".frame")) event.preventDefault();
    dragged = false;
  }, true);
  box.addEventListener("change", reset);

  document.addEventListener("keydown", (event) => {
    if (!box.checked && document.activeElement !== box) return;
    const ways = {
      "+": () => zoomBy(STEP), "=": () => zoomBy(STEP), "-": () => zoomBy(1 / STEP), "0": reset,
      Escape: () => { box.checked = false; reset(); },
    };
    if (zoom > 1 && document.activeElement.type !== "radio") Object.assign(ways, {
      ArrowLeft: () => move(SHIFT, 0), ArrowRight: () => move(-SHIFT, 0),
      ArrowUp: () => move(0, SHIFT), ArrowDown: () => move(0, -SHIFT),
    });
    const way = event.ctrlKey || event.metaKey || event.altKey ? undefined : ways[event.key];
    if (!way) return;
    event.preventDefault();
    way();
  });
}
document.documentElement.classList.add("live");
