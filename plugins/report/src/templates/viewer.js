// The linked viewer: all sequences, three planes, one cross-hair.
const Viewer = Volumes && (() => {
  const { head, shape, toByte, toValue } = Volumes;
  const { views, spacing } = Painting;
  const section = document.getElementById("viewer");
  const part = (name) => document.getElementById("viewer-" + name);
  const words = { score: "score", accepted: "accepted", below_size: "below size", rejected: "rejected", mask: "mask", truth: "truth" };
  const kinds = ["score", "accepted", "below_size", "rejected", "truth", "mask"]
    .filter((kind) => kind === "score" ? head.score !== null : Volumes.has(kind));
  const state = {
    at: shape.map((n) => n >> 1), image: 0, layout: "planes", plane: 0, zoom: 1, mip: false, slab: 10, hair: true, bare: false,
    shown: Object.fromEntries(kinds.map((kind) => [kind, kind !== "mask"])), threshold: head.display_threshold, chosen: 0,
    greys: head.images.map(() => null),
  };
  const ready = { images: new Map(), score: null, ids: null, places: new Map(), marks: new Map() };
  let panes = [], active = null;

  head.images.forEach((_, n) => firstGreys(n));
  function firstGreys(n) { state.greys[n] = [head.images[n].black, head.images[n].white]; }
  const neat = (value) => Number(value.toPrecision(4));

  function build() {
    const shown = state.layout === "planes" ? views.map((view) => ({ view, image: () => state.image }))
      : head.images.map((_, n) => ({ view: views[state.plane], image: () => n }));
    panes = shown.map(({ view, image }) => {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      canvas.tabIndex = 0;
      canvas.setAttribute("role", "img");
      const caption = document.createElement("figcaption");
      const name = document.createElement("span");
      const slider = document.createElement("input");
      slider.type = "range"; slider.min = 0; slider.max = shape[view.through] - 1;
      slider.setAttribute("aria-label", view.name + " slice");
      caption.append(name, slider);
      figure.append(canvas, caption);
      const pane = { view, image, canvas, name, slider, map: null };
      listen(pane);
      return pane;
    });
    part("panes").className = "panes " + state.layout;
    part("panes").replaceChildren(...panes.map((pane) => pane.canvas.parentNode));
    active = panes[0];
  }

  // Where a voxel of the slice lies on the canvas: the whole slice fits, or a part around the cross-hair when larger.
  function mapping(pane) {
    const { view, canvas } = pane, [w, h] = [canvas.width, canvas.height];
    const mm = [0, 1].map((e) => view.size[e] * view.mm[e]);
    const scale = Math.min(w / mm[0], h / mm[1]) * state.zoom;
    const centre = [view.across, view.down].map((axis, e) => {
      const half = [w, h][e] / 2 / scale, place = (state.at[axis] + .5) * view.mm[e];
      return 2 * half >= mm[e] ? mm[e] / 2 : Math.min(Math.max(place, half), mm[e] - half);
    });
    const step = view.mm.map((length) => length * scale);
    const origin = [w / 2 - centre[0] * scale, h / 2 - centre[1] * scale];
    return { scale, step, origin, place: (x, y) => [origin[0] + x * step[0], origin[1] + y * step[1]] };
  }

  function draw(pane) {
    const { canvas, view } = pane, ratio = Math.min(2, window.devicePixelRatio || 1);
    const side = Math.max(1, Math.round(canvas.clientWidth * ratio)), tall = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== side || canvas.height !== tall) { canvas.width = side; canvas.height = tall; }
    const context = canvas.getContext("2d"), map = pane.map = mapping(pane), at = state.at[view.through];
    const n = pane.image(), volume = ready.images.get(n), image = head.images[n];
    context.fillStyle = "#000";
    context.fillRect(0, 0, side, tall);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    const put = (sheet) => context.drawImage(sheet, ...map.origin, view.size[0] * map.step[0], view.size[1] * map.step[1]);
    const half = state.mip ? Math.round(state.slab / spacing[view.through] / 2) : 0;
    if (volume) {
      const table = Painting.greys(...state.greys[n].map((value) => toByte(image, value)));
      put(Painting.greySheet(Painting.slice(volume, view, at, half), view, table));
    } else {
      load(n);
      Painting.write(context, "unpacking …", side / 2, tall / 2 - 20, 13 * ratio, "center");
    }
    if (!state.bare) overlays(pane, context, put, at, half, ratio);
    if (state.hair) crossHair(pane, context, ratio);
    Painting.marks(context, view, map.scale, ratio);
    const world = Volumes.world(state.at), axis = [2, 1, 0].indexOf(view.through), sides = ["SI", "AP", "RL"][axis];
    const mm = world[view.through === 2 ? 2 : view.through === 1 ? 1 : 0];
    const place = `${sides[mm >= 0 ? 0 : 1]} ${Math.abs(mm).toFixed(0)} mm`;
    pane.name.textContent = state.layout === "planes" ? `${view.name} · ${place}` : `${n + 1} ${image.name}`;
    pane.slider.value = at;
    canvas.setAttribute("aria-label", `${image.name}, ${view.name} view, ${place}`);
  }

  function overlays(pane, context, put, at, half, ratio) {
    const { view, map } = pane, size = view.size;
    if (state.shown.score && ready.score) {
      put(Painting.scoreSheet(Painting.slice(ready.score, view, at, half), view, state.threshold));
    }
    for (const kind of ["mask", "truth"]) {
      const marked = state.shown[kind] && ready.marks.get(kind);
      if (marked) {
        const paths = Painting.borders(Painting.slice(marked, view, at, 0), size).map((border) => border.path);
        Painting.outline(context, paths, map.place, kind, 1.4 * ratio);
      }
    }
    if (!ready.ids) return;
    const found = Painting.borders(Painting.slice(ready.ids, view, at, half), size);
    for (const kind of ["rejected", "below_size", "accepted"].filter((kind) => state.shown[kind])) {
      const own = found.filter((border) => ready.places.get(border.label)?.kind === kind);
      const chosen = own.filter((border) => border.label === state.chosen);
      Painting.outline(context, own.map((border) => border.path), map.place, kind, 1.4 * ratio);
      if (chosen.length) Painting.outline(context, chosen.map((border) => border.path), map.place, kind, 2.6 * ratio);
      const numbered = new Set();
      for (const { label, path } of own) {
        if (numbered.has(label) || kind === "rejected" && label !== state.chosen) continue;
        numbered.add(label);
        const right = path.reduce((best, corner) => corner[0] > best[0] ? corner : best);
        const [x, y] = map.place(...right);
        Painting.write(context, String(label), x + 4 * ratio, y, 11 * ratio, "left", Painting.colours[kind]);
      }
    }
  }

  function crossHair(pane, context, ratio) {
    const { view, map, canvas } = pane, [x, y] = map.place(state.at[view.across] + .5, state.at[view.down] + .5);
    const gap = 10 * ratio;
    context.strokeStyle = "rgba(130, 220, 130, .75)";
    context.lineWidth = ratio;
    context.beginPath();
    for (const [a, b, c, d] of [[0, y, x - gap, y], [x + gap, y, canvas.width, y], [x, 0, x, y - gap], [x, y + gap, x, canvas.height]]) {
      context.moveTo(a, b); context.lineTo(c, d);
    }
    context.stroke();
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      panes.forEach(draw);
      tell();
    });
  }

  // What is under the cross-hair, and the state for those who drive the page.
  function tell() {
    const at = state.at[0] + shape[0] * (state.at[1] + shape[1] * state.at[2]);
    const world = Volumes.world(state.at).map((mm, axis) => `${["RL", "AP", "SI"][axis][mm >= 0 ? 0 : 1]} ${Math.abs(mm).toFixed(1)}`);
    const stored = [0, 0, 0];
    head.grid.reference.forEach(([axis, first, step], n) => { stored[axis] = Math.round(first + step * state.at[n]); });
    const said = [world.join(" · ") + " mm", "voxel " + stored.join(", ")];
    for (const [n, volume] of [...ready.images].sort((a, b) => a[0] - b[0])) {
      if (volume[at]) said.push(`${head.images[n].name} ${neat(toValue(head.images[n], volume[at]))}`);
    }
    if (ready.score) said.push(ready.score[at] ? `score ${(ready.score[at] / 255).toFixed(2)}` : `score < ${head.display_threshold}`);
    const id = ready.ids?.[at];
    if (id) said.push(`candidate ${id} (${words[ready.places.get(id).kind]})`);
    part("readout").textContent = said.join("   ");
    const image = head.images[state.image], [black, white] = state.greys[state.image];
    for (const [name, value] of [["window", white - black], ["level", (white + black) / 2]]) {
      if (document.activeElement !== part(name)) part(name).value = neat(value);
    }
    part("zoom").textContent = state.zoom + "×";
    part("mip").checked = state.mip;
    part("plane").value = state.plane;
    const press = (button, on) => button.setAttribute("aria-pressed", String(on));
    section.querySelectorAll("button[data-image]").forEach((b) => press(b, Number(b.dataset.image) === state.image));
    section.querySelectorAll("button[data-layout]").forEach((b) => press(b, b.dataset.layout === state.layout));
    part("overlays").querySelectorAll("input[type=checkbox]").forEach((box) => { box.checked = !state.bare && state.shown[box.value]; });
    Object.assign(part("panes").dataset, {
      at: state.at.join(" "), voxel: stored.join(" "), image: image.name, shows: state.layout, mip: state.mip, bare: state.bare,
      zoom: state.zoom, chosen: state.chosen, black: neat(black), white: neat(white), ready: ready.images.has(state.image),
    });
    document.dispatchEvent(new CustomEvent("viewer-moved"));
  }

  async function load(n) {
    if (ready.images.has(n)) return;
    const volume = await Volumes.image(n);
    ready.images.set(n, volume);
    redraw();
  }
  async function loadOverlays() {
    if (head.score !== null) { ready.score = await Volumes.score(); redraw(); }
    const { ids, places } = await Volumes.candidates();
    Object.assign(ready, { ids, places });
    for (const kind of ["truth", "mask"]) if (Volumes.has(kind)) ready.marks.set(kind, await Volumes.marks(kind));
    redraw();
  }

  function move(axis, by) {
    state.at[axis] = Math.max(0, Math.min(shape[axis] - 1, state.at[axis] + by));
    redraw();
  }
  function zoom(by) { state.zoom = Math.max(1, Math.min(8, by > 0 ? state.zoom * 2 : state.zoom / 2)); redraw(); }
  function show(image) { if (image < head.images.length) { state.image = image; redraw(); } }
  function lay(layout) { state.layout = layout; build(); redraw(); }

  // Goes to a candidate; false where the viewer does not hold it.
  function jump(id, focus = true) {
    const place = ready.places.get(id);
    if (!place) return false;
    state.at = [...place.centre];
    state.chosen = id;
    state.shown[place.kind] = true;
    section.scrollIntoView({ block: "start" });
    if (focus) active.canvas.focus({ preventScroll: true });
    redraw();
    return true;
  }
  function neighbour(by) {
    const ids = [...ready.places.values()].filter((place) => state.shown[place.kind]).map((place) => place.id);
    if (ids.length) jump(ids[(ids.indexOf(state.chosen) + by + ids.length) % ids.length]);
  }

  function listen(pane) {
    const { canvas, view } = pane;
    const start = { x: 0, y: 0, greys: null };
    const point = (event) => {
      const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
      const dot = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
      [view.across, view.down].forEach((axis, e) => {
        const voxel = Math.floor((dot[e] - pane.map.origin[e]) / pane.map.step[e]);
        state.at[axis] = Math.max(0, Math.min(shape[axis] - 1, voxel));
      });
      redraw();
    };
    const grey = (event) => {
      const image = head.images[pane.image()], span = (image.white - image.black || 1) / 200;
      const [black, white] = start.greys, level = (black + white) / 2 + (start.y - event.clientY) * span;
      const half = Math.max(span, white - black + (event.clientX - start.x) * span) / 2;
      state.greys[pane.image()] = [level - half, level + half];
      redraw();
    };
    canvas.addEventListener("pointerdown", (event) => {
      active = pane;
      canvas.setPointerCapture(event.pointerId);
      const greying = event.shiftKey || event.button === 2;
      Object.assign(start, { x: event.clientX, y: event.clientY, greys: greying ? [...state.greys[pane.image()]] : null });
      if (!greying) point(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) start.greys ? grey(event) : point(event);
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("focus", () => { active = pane; });
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas) return;
      event.preventDefault();
      move(view.through, Math.sign(event.deltaY));
    }, { passive: false });
    pane.slider.addEventListener("input", () => { state.at[view.through] = Number(pane.slider.value); redraw(); });
  }

  const keys = {
    ArrowLeft: () => move(active.view.across, -1), ArrowRight: () => move(active.view.across, 1),
    ArrowUp: () => move(active.view.down, -1), ArrowDown: () => move(active.view.down, 1),
    PageUp: () => move(active.view.through, -1), PageDown: () => move(active.view.through, 1),
    o: () => { state.bare = !state.bare; redraw(); },
    m: () => { state.mip = !state.mip; redraw(); },
    h: () => { state.hair = !state.hair; redraw(); },
    a: () => lay(state.layout === "planes" ? "images" : "planes"),
    r: () => { firstGreys(state.image); redraw(); },
    n: () => neighbour(1), p: () => neighbour(-1), "+": () => zoom(1), "-": () => zoom(-1),
    "?": () => { part("help").open = !part("help").open; },
  };
  section.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), select")) return;
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    if (!digit && !keys[event.key]) return;
    event.preventDefault();
    if (digit) show(digit - 1); else keys[event.key]();
    if (event.key === "a") active.canvas.focus();
  });

  function choice(text, attributes) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    Object.assign(button.dataset, attributes);
    return button;
  }
  function controls() {
    head.images.forEach((image, n) => part("images").append(choice(`${n + 1} ${image.name}`, { image: n })));
    section.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.image) show(Number(button.dataset.image));
      if (button?.dataset.layout) lay(button.dataset.layout);
      if (button?.dataset.zoom) zoom(Number(button.dataset.zoom));
    });
    for (const kind of kinds) {
      const label = document.createElement("label"), box = document.createElement("input"), sign = document.createElement("i");
      Object.assign(box, { type: "checkbox", value: kind });
      sign.className = "line " + kind.replace("_", "-");
      label.append(box, sign, words[kind]);
      box.addEventListener("change", () => { state.bare = false; state.shown[kind] = box.checked; redraw(); });
      part("overlays").append(label);
      if (kind === "score") part("overlays").append(scoreBar());
    }
    const grey = () => {
      const [window, level] = ["window", "level"].map((name) => Number(part(name).value));
      if (window > 0 && isFinite(level)) { state.greys[state.image] = [level - window / 2, level + window / 2]; redraw(); }
    };
    part("window").addEventListener("input", grey);
    part("level").addEventListener("input", grey);
    part("reset").addEventListener("click", keys.r);
    part("mip").addEventListener("change", keys.m);
    part("slab").addEventListener("input", () => { state.slab = Math.max(1, Number(part("slab").value) || 1); redraw(); });
    part("plane").addEventListener("change", () => { state.plane = Number(part("plane").value); lay("images"); });
    part("coarse").hidden = !head.coarse;
  }
  // The colours of the score, and the least score that is coloured.
  function scoreBar() {
    const label = document.createElement("label"), bar = document.createElement("i"), least = document.createElement("input");
    bar.className = "score-bar";
    bar.style.background = `linear-gradient(to right, ${head.score_colours.join(", ")})`;
    Object.assign(least, { type: "number", min: head.display_threshold, max: 1, step: .05, value: head.display_threshold });
    least.addEventListener("input", () => { state.threshold = Math.max(head.display_threshold, Number(least.value) || 0); redraw(); });
    label.append("from ", least, " ", bar, " 1");
    return label;
  }

  // Numbers in the table, and addresses that end in #lesion-3, lead to the candidate's place.
  const numbered = (hash) => Number(/^#lesion-(\d+)$/.exec(hash)?.[1]);
  document.addEventListener("click", (event) => {
    const id = numbered(event.target.closest("a")?.getAttribute("href") || "");
    if (id && jump(id)) event.preventDefault();
  });
  async function start() {
    section.hidden = false;
    document.body.classList.add("viewing");
    controls();
    build();
    new ResizeObserver(redraw).observe(part("panes"));
    await load(0);
    await loadOverlays();
    const id = numbered(location.hash);
    if (id) jump(id, false);
    for (let n = 1; n < head.images.length; n++) await load(n);
  }
  return { state, ready: start(), jump, at: () => state.at };
})();
