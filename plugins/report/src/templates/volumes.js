// The volumes in the page: unpacked once, when first asked for. Null where there are none or the browser cannot unpack them.
const Volumes = (() => {
  const source = document.getElementById("volumes");
  if (!source || typeof DecompressionStream === "undefined") return null;
  const head = JSON.parse(source.textContent);
  const shape = head.grid.shape;
  const size = shape[0] * shape[1] * shape[2];
  const strides = [1, shape[0], shape[0] * shape[1]];

  const unpacked = (block) => inflated(document.getElementById("volume-" + block).textContent);
  async function inflated(packed) {
    const text = atob(packed);
    const bytes = new Uint8Array(text.length);
    for (let n = 0; n < text.length; n++) bytes[n] = text.charCodeAt(n);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Undoes the prediction from the neighbours to the left and above, slice by slice.
  function restored(bytes) {
    const [width, height, slices] = shape, step = head.step, nothing = head.darkest >> 1;
    let n = 0;
    for (let z = 0; z < slices; z++) {
      for (let y = 0; y < height; y++) {
        let left = 0, corner = 0;
        for (let x = 0; x < width; x++, n++) {
          const over = y ? bytes[n - width] : 0;
          const low = left < over ? left : over, high = left < over ? over : left;
          const guess = corner >= high ? low : corner <= low ? high : left + over - corner;
          let value = step === 1 ? guess + bytes[n] & 255 : guess + (bytes[n] << 24 >> 24) * step;
          value = value < nothing ? 0 : value > 255 ? 255 : value;
          left = bytes[n] = value;
          corner = over;
        }
      }
    }
    return bytes;
  }

  // Calls back with the first offset, the length and the label of each run.
  function eachRun(bytes, call) {
    let at = 0, end = 0;
    const number = () => {
      let value = 0, factor = 1, byte;
      do { byte = bytes[at++]; value += (byte & 127) * factor; factor *= 128; } while (byte & 128);
      return value;
    };
    while (at < bytes.length) {
      const first = end + number(), length = number();
      end = first + length;
      call(first, length, number());
    }
  }

  const once = (make) => {
    const made = new Map();
    return (key) => made.get(key) ?? (made.set(key, make(key)), made.get(key));
  };

  // Where a candidate lies: voxels, centre, box, and the axial slice with most of it.
  function place(found) {
    const counts = [...found.slices].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    return { id: found.id, kind: found.kind, low: found.low, high: found.high, voxels: found.voxels,
      centre: [Math.round(found.sum[0] / found.voxels), Math.round(found.sum[1] / found.voxels), counts[0][0]] };
  }

  async function candidates() {
    const ids = new Uint32Array(size), found = new Map();
    for (const kind of ["rejected", "below_size", "accepted"]) {
      const block = head.labels.find(([name]) => name === kind);
      if (!block) continue;
      eachRun(await unpacked(block[1]), (first, length, id) => {
        ids.fill(id, first, first + length);
        let of = found.get(id);
        if (!of) found.set(id, of = { id, kind, voxels: 0, sum: [0, 0], low: [...shape], high: [0, 0, 0], slices: new Map() });
        for (let n = first; n < first + length; n++) {
          const index = [n % shape[0], Math.floor(n / shape[0]) % shape[1], Math.floor(n / strides[2])];
          for (let a = 0; a < 3; a++) {
            of.low[a] = Math.min(of.low[a], index[a]);
            of.high[a] = Math.max(of.high[a], index[a]);
          }
          of.sum[0] += index[0]; of.sum[1] += index[1]; of.voxels++;
          of.slices.set(index[2], (of.slices.get(index[2]) || 0) + 1);
        }
      });
    }
    const places = new Map([...found].sort((a, b) => a[0] - b[0]).map(([id, of]) => [id, place(of)]));
    return { ids, places };
  }

  async function marks(kind) {
    const marked = new Uint8Array(size), block = head.labels.find(([name]) => name === kind);
    eachRun(await unpacked(block[1]), (first, length) => marked.fill(1, first, first + length));
    return marked;
  }

  const has = (kind) => head.labels.some(([name]) => name === kind);
  return {
    head, shape, strides, has, inflated,
    image: once(async (n) => restored(await unpacked(head.images[n].block))),
    score: once(async () => restored(await unpacked(head.score))),
    candidates: once(candidates),
    marks: once(marks),
    // Bytes and intensities: the darkest byte is `low`, 255 is `high`.
    toByte: (image, value) => head.darkest + (value - image.low) / (image.high - image.low || 1) * (255 - head.darkest),
    toValue: (image, byte) => image.low + (byte - head.darkest) / (255 - head.darkest) * (image.high - image.low),
    world: (v) => head.grid.voxel_to_world.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2] + row[3]),
  };
})();
