"""Reading and writing .nii.gz of 256^3 int16, beside SimpleITK, nibabel and the Rust crate `nifti`.

    python tests/peers/nifti_io.py [--repeats 7]

In call: CPU seconds of the reading or writing alone, one thread, after a first round that counts for nothing. Two files are
read: the one SimpleITK writes, and one packed at level 1. Written files are read back by SimpleITK, nibabel and Python's zlib.
"""

import gzip
import pathlib
import tempfile

import nibabel
import numpy as np
import scipy.ndimage
import SimpleITK as sitk

import common

SIDE = 256


def head(seed=3):
    """A head-like ball with structure and noise in a noisy background; as a scanner's int16."""
    random = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, SIDE, dtype=np.float32)] * 3, indexing="ij")
    radius = np.sqrt(x**2 + (y / 0.85) ** 2 + (z / 0.9) ** 2)
    structure = scipy.ndimage.gaussian_filter(random.normal(size=radius.shape).astype(np.float32), 4)
    structure /= structure.std()
    noise = np.abs(random.normal(0, 8, size=radius.shape))
    inside = 600 + 120 * structure - 200 * radius + noise
    outside = noise * (random.random(radius.shape) < 0.3)
    return np.clip(np.where(radius < 0.85, inside, outside), 0, 4000).astype(np.int16)


def reading(kernels, path, repeats):
    figures = {"sitk": [], "stored": [], "f32": [], "nibabel": []}
    for n in range(repeats + 1):
        sitk_s, image = common.timed(lambda: sitk.ReadImage(str(path)))
        nibabel_s, voxels = common.timed(lambda: np.asarray(nibabel.load(path).dataobj))
        total = float(voxels.sum(dtype=np.float64))
        taken = {"sitk": sitk_s, "nibabel": nibabel_s}
        for task in ("stored", "f32"):
            _, taken[task], found = kernels.ask(f"{task} {path}")
            if abs(found - total) > 1e-9 * total:
                raise SystemExit(f"{task} {path}: sum {found} is not {total}")
        del image
        if n > 0:
            for name, value in taken.items():
                figures[name].append(value)
    return {name: common.median(values) for name, values in figures.items()}


def writing(kernels, peer, source, to, repeats):
    ours, theirs = [], []
    for n in range(repeats + 1):
        _, cpu_s, size = kernels.ask(f"write {source} {to}")
        _, peer_s, peer_size = peer.ask()
        if n > 0:
            ours.append(cpu_s)
            theirs.append(peer_s)
    expected = np.asarray(nibabel.load(source).dataobj)
    for name, voxels in {
        "nibabel": np.asarray(nibabel.load(to).dataobj),
        "SimpleITK": sitk.GetArrayFromImage(sitk.ReadImage(str(to))).transpose(2, 1, 0),
        "zlib": np.frombuffer(gzip.decompress(to.read_bytes()), np.int16, offset=352).reshape(expected.shape, order="F"),
    }.items():
        if not np.array_equal(voxels, expected):
            raise SystemExit(f"{name} reads other numbers than were written")
    return common.median(ours), common.median(theirs), size, peer_size


def main():
    options = common.arguments(__doc__, repeats=7).parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        plain, by_sitk, level_1, ours = (folder / name for name in ("a.nii", "sitk.nii.gz", "level1.nii.gz", "o.nii.gz"))
        image = sitk.GetImageFromArray(head())
        sitk.WriteImage(image, str(plain))
        sitk.WriteImage(image, str(by_sitk))
        level_1.write_bytes(gzip.compress(plain.read_bytes(), 1))
        kernels = common.Lines(options.programs / "examples/kernels")
        for name, path in (("written by SimpleITK", by_sitk), ("of level 1", level_1)):
            s = reading(kernels, path, options.repeats)
            for task, text, most in (("stored", "stored type", 0.9), ("f32", "to f32", 1.3)):
                rows.append(common.row(
                    f"read .nii.gz int16 256^3, {text}, file {name}",
                    f"{s[task]:.3f} s", f"SimpleITK {s['sitk']:.3f} s, nibabel {s['nibabel']:.3f} s",
                    f"<= {most} x SimpleITK", s[task] <= most * s["sitk"], f"{s[task] / s['sitk']:.2f} x SimpleITK",
                ))
        writer = options.programs / "peers/release/nifti_writer"
        if writer.exists():
            peer = common.Lines(writer, plain, folder / "peer.nii.gz")
            ours_s, peer_s, size, peer_size = writing(kernels, peer, plain, ours, options.repeats)
            peer.close()
            rows.append(common.row(
                "write .nii.gz int16 256^3", f"{ours_s:.3f} s, {size / 1e6:.2f} MB",
                f"Rust nifti 0.18 {peer_s:.3f} s, {peer_size / 1e6:.2f} MB", "<= 0.5 x Rust nifti, no larger file",
                ours_s <= 0.5 * peer_s and size <= peer_size,
                f"{ours_s / peer_s:.2f} x; ours with flush to disk; read back by nibabel, SimpleITK and zlib",
            ))
        else:
            rows.append(common.row("write .nii.gz int16 256^3", "", "", "", None, f"{writer} is not built"))
        kernels.close()
    common.finish(rows, options)


if __name__ == "__main__":
    main()
