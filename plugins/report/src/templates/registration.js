// Registration by eye: an image against the first one, as a checkerboard, in turn, or blended, where the viewer's cross-hair is.
if (Viewer && document.getElementById("blink") && Volumes.head.images.length > 1) {
  const box = document.getElementById("blink"), part = (name) => document.getElementById("blink-" + name);
  const canvases = [...box.querySelectorAll("canvas")];
  let second = true, timer = 0;
  Volumes.head.images.slice(1).forEach((image, n) => part("image").add(new Option(image.name, n + 1)));
  const greyed = (n, volume, view, name) => {
    const image = Volumes.head.images[n], byte = (value) => Volumes.toByte(image, value);
    const at = Viewer.at()[view.through];
    return Painting.greySheet(Painting.slice(volume, view, at, 0), view, Painting.greys(byte(image.black), byte(image.white)), name);
  };
  async function draw() {
    const n = Number(part("image").value), mode = part("mode").value;
    const [fixed, other] = await Promise.all([Volumes.image(0), Volumes.image(n)]);
    Painting.views.forEach((view, v) => {
      const canvas = canvases[v], context = canvas.getContext("2d");
      const [w, h] = view.size.map((count, e) => count * view.mm[e]);
      const scale = 320 / Math.max(w, h);
      canvas.width = Math.round(w * scale); canvas.height = Math.round(h * scale);
      const one = greyed(0, fixed, view, "fixed"), two = greyed(n, other, view, "other");
      const put = (sheet) => context.drawImage(sheet, 0, 0, canvas.width, canvas.height);
      put(one);
      if (mode === "blend") { context.globalAlpha = Number(part("share").value); put(two); context.globalAlpha = 1; }
      if (mode === "flicker" && second) put(two);
      if (mode === "checker") {
        const square = Math.max(4, Number(part("square").value) * scale);
        context.save();
        context.beginPath();
        for (let y = 0; y * square < canvas.height; y++) {
          for (let x = y % 2; x * square < canvas.width; x += 2) context.rect(x * square, y * square, square, square);
        }
        context.clip();
        put(two);
        context.restore();
      }
      Painting.marks(context, view, scale, 1);
      canvas.setAttribute("aria-label", `${Volumes.head.images[n].name} against ${Volumes.head.images[0].name}, ${view.name} view`);
    });
    box.dataset.shows = mode;
    part("said").textContent = mode === "flicker" ? Volumes.head.images[second ? n : 0].name : "";
  }
  function change() {
    clearInterval(timer);
    const mode = part("mode").value;
    part("square").closest("label").hidden = mode !== "checker";
    part("share").closest("label").hidden = mode !== "blend";
    if (mode === "flicker") timer = setInterval(() => { second = !second; draw(); }, 700);
    draw();
  }
  for (const name of ["image", "mode", "square", "share"]) part(name).addEventListener("input", change);
  let visible = false;
  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; if (visible) draw(); }).observe(box);
  document.addEventListener("viewer-moved", () => { if (visible) draw(); });
  Viewer.ready.then(() => { box.hidden = false; change(); });
}
