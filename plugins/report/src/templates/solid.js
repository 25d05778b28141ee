// The 3-D view: its program is unpacked and run when a reader asks for it, on the volumes that the page holds anyway.
if (Viewer) (() => {
  const part = (name) => document.getElementById("solid" + (name ? "-" + name : ""));
  if (!part("")) return;
  const { head, shape } = Volumes;
  part("").hidden = false;
  let view = null;

  // A NIfTI-1 file of bytes on the viewer's grid.
  function file(name, bytes) {
    const offset = 352, buffer = new ArrayBuffer(offset + bytes.length), data = new DataView(buffer);
    const rows = head.grid.voxel_to_world, spacing = shape.map((_, axis) => Math.hypot(...rows.map((row) => row[axis])));
    data.setInt32(0, 348, true);
    [3, ...shape, 1, 1, 1, 1].forEach((n, i) => data.setInt16(40 + 2 * i, n, true));
    data.setInt16(70, 2, true); // unsigned bytes
    data.setInt16(72, 8, true);
    [1, ...spacing].forEach((mm, i) => data.setFloat32(76 + 4 * i, mm, true));
    data.setFloat32(108, offset, true);
    data.setFloat32(112, 1, true);
    data.setUint8(123, 2); // mm
    data.setInt16(254, 1, true);
    rows.forEach((row, r) => row.forEach((x, c) => data.setFloat32(280 + 16 * r + 4 * c, x, true)));
    data.setUint32(344, 0x6e2b3100); // "n+1"
    new Uint8Array(buffer, offset).set(bytes);
    return new File([buffer], name + ".nii");
  }

  async function lesions() {
    const { ids, places } = await Volumes.candidates();
    return Uint8Array.from(ids, (id) => id && places.get(id)?.kind === "accepted" ? 1 : 0);
  }

  async function open() {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await Volumes.inflated(part("program").textContent));
    document.head.append(script);
    part("frame").hidden = false;
    const made = new window.niivue.Niivue({ logLevel: "error", isRadiologicalConvention: true, dragAndDropEnabled: false, show3Dcrosshair: false });
    await made.attachToCanvas(part("canvas"));
    const add = async (options) => made.addVolume(await window.niivue.NVImage.loadFromFile(options));
    await add({ file: file("brain", await Volumes.image(0)), colormap: "gray" });
    if (Volumes.has("accepted")) await add({ file: file("lesions", await lesions()), colormap: "red", cal_min: .5, cal_max: 1 });
    made.setSliceType(made.sliceTypeRender);
    made.setRenderAzimuthElevation(120, 20);
    made.setScale(1.2);
    view = made;
    show();
  }

  function show() {
    view.setOpacity(0, Number(part("opacity").value));
    view.setClipPlane(part("cut").checked ? [0, 180, 0] : [2, 0, 0]);
    part("").dataset.volumes = view.volumes.length;
  }

  part("open").addEventListener("click", async () => {
    part("open").disabled = true;
    part("said").textContent = "unpacking …";
    try {
      await open();
      part("open").hidden = true;
      part("tools").hidden = false;
      part("said").textContent = "";
    } catch (error) {
      part("frame").hidden = true;
      part("said").textContent = `The 3-D view cannot be drawn here: ${error.message}.`;
    }
  });
  for (const name of ["opacity", "cut"]) part(name).addEventListener("input", () => view && show());
})();
