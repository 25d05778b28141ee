// Paints slices: greys, score, outlines, marks. A view goes through one axis and shows the other two.
const Painting = Volumes && (() => {
  const { shape, strides, head } = Volumes;
  const spacing = head.grid.spacing_mm;
  const views = [
    { name: "axial", through: 2, across: 0, down: 1, sides: "RLAP" },
    { name: "coronal", through: 1, across: 0, down: 2, sides: "RLSI" },
    { name: "sagittal", through: 0, across: 1, down: 2, sides: "APSI" },
  ];
  for (const view of views) {
    view.size = [shape[view.across], shape[view.down]];
    view.mm = [spacing[view.across], spacing[view.down]];
  }
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const colours = Object.fromEntries(head.outlines);
  const dashes = { accepted: [], below_size: [5, 3], rejected: [6, 3, 1.5, 3], truth: [1.5, 2.5], mask: [] };
  const shades = head.score_colours.map(channels);

  // A slice, or the largest values of a slab around it.
  function slice(volume, view, at, halfSlab) {
    const [width, height] = view.size;
    const [across, down, through] = [strides[view.across], strides[view.down], strides[view.through]];
    const out = new volume.constructor(width * height);
    const first = Math.max(0, at - halfSlab), last = Math.min(shape[view.through] - 1, at + halfSlab);
    for (let k = first; k <= last; k++) {
      for (let y = 0, n = 0; y < height; y++) {
        for (let x = 0, from = k * through + y * down; x < width; x++, n++, from += across) {
          if (volume[from] > out[n]) out[n] = volume[from];
        }
      }
    }
    return out;
  }

  const sheets = new Map();
  // A canvas of one dot a voxel, kept for each size.
  function sheet(name, [width, height]) {
    const key = name + width + "x" + height;
    if (!sheets.has(key)) {
      const canvas = document.createElement("canvas");
      canvas.width = width; canvas.height = height;
      sheets.set(key, { canvas, context: canvas.getContext("2d"), data: new ImageData(width, height) });
    }
    return sheets.get(key);
  }

  // Grey of each byte, for black and white as bytes with fractions. Byte 0 is not shown.
  function greys(black, white) {
    const table = new Uint8ClampedArray(256);
    for (let n = 1; n < 256; n++) table[n] = white > black ? (n - black) / (white - black) * 255 : n < black ? 0 : 255;
    return table;
  }

  function greySheet(values, view, table, name = "grey") {
    const made = sheet(name, view.size), data = made.data.data;
    for (let n = 0, to = 0; n < values.length; n++, to += 4) {
      data[to] = data[to + 1] = data[to + 2] = table[values[n]];
      data[to + 3] = 255;
    }
    made.context.putImageData(made.data, 0, 0);
    return made.canvas;
  }

  function scoreSheet(values, view, threshold) {
    const made = sheet("score", view.size), data = made.data.data, least = threshold * 255;
    for (let n = 0, to = 0; n < values.length; n++, to += 4) {
      const shown = values[n] >= least && values[n] > 0;
      if (shown) {
        const t = (values[n] / 255 - head.display_threshold) / (1 - head.display_threshold);
        const colour = shades[Math.max(0, Math.min(shades.length - 1, Math.round(t * (shades.length - 1))))];
        data[to] = colour[0]; data[to + 1] = colour[1]; data[to + 2] = colour[2];
      }
      data[to + 3] = shown ? 120 : 0;
    }
    made.context.putImageData(made.data, 0, 0);
    return made.canvas;
  }

  // The closed borders of all labels of a slice along voxel edges: for each its label and corners.
  function borders(labels, [width, height]) {
    const next = new Map(), found = [];
    const at = (x, y) => x < 0 || y < 0 || x >= width || y >= height ? 0 : labels[y * width + x];
    const corner = (x, y) => y * (width + 1) + x;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const own = labels[y * width + x];
        if (!own) continue;
        const add = (from, to) => {
          const key = own + ":" + from;
          next.has(key) ? next.get(key).push(to) : next.set(key, [to]);
        };
        if (at(x, y - 1) !== own) add(corner(x, y), corner(x + 1, y));
        if (at(x + 1, y) !== own) add(corner(x + 1, y), corner(x + 1, y + 1));
        if (at(x, y + 1) !== own) add(corner(x + 1, y + 1), corner(x, y + 1));
        if (at(x - 1, y) !== own) add(corner(x, y + 1), corner(x, y));
      }
    }
    for (const [key, ends] of next) {
      const [label, start] = key.split(":").map(Number);
      while (ends.length) {
        const path = [start];
        for (let to = ends.pop(); to !== undefined; to = next.get(label + ":" + to)?.pop()) path.push(to);
        found.push({ label, path: path.map((c) => [c % (width + 1), Math.floor(c / (width + 1))]) });
      }
    }
    return found;
  }

  // Strokes borders where `place` puts a voxel corner.
  function outline(context, paths, place, kind, width) {
    context.beginPath();
    for (const path of paths) path.forEach(([x, y], n) => context[n ? "lineTo" : "moveTo"](...place(x, y)));
    context.setLineDash([]);
    context.lineWidth = width * 2.2;
    context.strokeStyle = "rgba(0,0,0,.45)";
    if (kind !== "mask") context.stroke();
    context.setLineDash(dashes[kind].map((length) => length * width));
    context.lineWidth = width;
    context.strokeStyle = colours[kind];
    context.stroke();
    context.setLineDash([]);
  }

  function write(context, text, x, y, size, align = "left", colour = "#ebebeb") {
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.lineWidth = size / 4;
    context.lineJoin = "round";
    context.strokeStyle = "#000";
    context.strokeText(text, x, y);
    context.fillStyle = colour;
    context.fillText(text, x, y);
  }

  // Sides, and a bar of the largest round length that takes at most a third of the width.
  function marks(context, view, dotsPerMm, ratio) {
    const { width, height } = context.canvas, size = 12 * ratio, gap = 9 * ratio;
    write(context, view.sides[0], gap, height / 2, size, "center");
    write(context, view.sides[1], width - gap, height / 2, size, "center");
    write(context, view.sides[2], width / 2, gap, size, "center");
    write(context, view.sides[3], width / 2, height - gap, size, "center");
    const length = [100, 50, 20, 10, 5, 2].find((mm) => mm * dotsPerMm <= width / 3);
    if (!length) return;
    context.fillStyle = "#ebebeb";
    context.fillRect(width - gap - length * dotsPerMm, height - gap, length * dotsPerMm, 2 * ratio);
    write(context, length + " mm", width - gap, height - gap - 9 * ratio, 10 * ratio, "right");
  }

  return { views, spacing, colours, slice, sheet, greys, greySheet, scoreSheet, borders, outline, write, marks };
})();
