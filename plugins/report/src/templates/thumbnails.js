// Pictures of each candidate in its row: at once where it is in sight, the others one by one, all of them before printing.
if (Viewer) {
  const side = 60, least = 24;
  const drawn = new WeakSet();
  async function paint(cell) {
    if (drawn.has(cell)) return;
    drawn.add(cell);
    const id = Number(cell.parentNode.dataset.lesion);
    const [volume, { ids, places }] = await Promise.all([Volumes.image(0), Volumes.candidates()]);
    const place = places.get(id);
    if (!place) return;
    const score = Volumes.head.score === null ? null : await Volumes.score();
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    button.type = "button";
    button.setAttribute("aria-label", `Show ${id} in the viewer`);
    button.addEventListener("click", () => Viewer.jump(id));
    canvas.width = 3 * side + 8; canvas.height = side;
    Painting.views.forEach((view, n) => crop(canvas.getContext("2d"), n * (side + 4), view, place, { volume, ids, score }));
    button.append(canvas);
    cell.replaceChildren(button);
  }
  // A square around the candidate, twice as wide as it, with score and outline.
  function crop(context, left, view, place, { volume, ids, score }) {
    const image = Volumes.head.images[0], byte = (value) => Volumes.toByte(image, value);
    const axes = [view.across, view.down], at = place.centre[view.through];
    const extent = axes.map((axis, e) => (place.high[axis] - place.low[axis] + 1) * view.mm[e]);
    const mm = Math.max(least, 2 * Math.max(...extent)), scale = side / mm;
    const origin = axes.map((axis, e) => mm / 2 - ((place.low[axis] + place.high[axis] + 1) / 2) * view.mm[e]);
    const put = (sheet) => context.drawImage(sheet, left + origin[0] * scale, origin[1] * scale,
      view.size[0] * view.mm[0] * scale, view.size[1] * view.mm[1] * scale);
    context.save();
    context.beginPath();
    context.rect(left, 0, side, side);
    context.clip();
    context.fillStyle = "#000";
    context.fillRect(left, 0, side, side);
    put(Painting.greySheet(Painting.slice(volume, view, at, 0), view, Painting.greys(byte(image.black), byte(image.white))));
    if (score) {
      context.globalAlpha = .5;
      put(Painting.scoreSheet(Painting.slice(score, view, at, 0), view, Volumes.head.display_threshold));
      context.globalAlpha = 1;
    }
    const own = Painting.slice(ids, view, at, 0).map((id) => id === place.id ? id : 0);
    const corner = (x, y) => [left + (origin[0] + x * view.mm[0]) * scale, (origin[1] + y * view.mm[1]) * scale];
    Painting.outline(context, Painting.borders(own, view.size).map((border) => border.path), corner, place.kind, 1.3);
    context.restore();
  }
  const cells = document.querySelectorAll("tr[data-lesion] td.pictured");
  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) paint(entry.target);
  }, { rootMargin: "200px" });
  // Rows out of sight follow when there is nothing else to do.
  async function rest(n) {
    if (n >= cells.length) return;
    await paint(cells[n]);
    setTimeout(() => rest(n + 1));
  }
  Viewer.ready.then(() => { cells.forEach((cell) => sight.observe(cell)); rest(0); });
  window.addEventListener("beforeprint", () => cells.forEach(paint));
}
