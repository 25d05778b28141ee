"""Resampling 256^3 by a turn about all axes, beside SimpleITK and SciPy.

    python tests/peers/resample.py [--repeats 5]

CPU seconds on one thread, taking turns. Cubic is a B-spline with its prefilter everywhere. The sums of linear and cubic results
must agree with SciPy's: the same turn was made.

Twice: whole processes, as a user starts them (the stage alone in a workflow of ours, a script of Python for each peer), which read an
int16 .nii.gz and write a float32 .nii.gz, the peers at gzip level 1; and in call, from memory to fresh memory.
"""

import math
import pathlib
import sys
import tempfile

import nibabel
import numpy as np
import scipy.ndimage
import SimpleITK as sitk

import common
import nifti_io

SIDE = 256
ANGLES = (0.2, -0.15, 0.3)


def rotation():
    ax, ay, az = ANGLES
    about_x = np.array([[1, 0, 0], [0, math.cos(ax), -math.sin(ax)], [0, math.sin(ax), math.cos(ax)]])
    about_y = np.array([[math.cos(ay), 0, math.sin(ay)], [0, 1, 0], [-math.sin(ay), 0, math.cos(ay)]])
    about_z = np.array([[math.cos(az), -math.sin(az), 0], [math.sin(az), math.cos(az), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def shifted():
    turn, middle = rotation(), np.full(3, (SIDE - 1) / 2)
    return turn, middle - turn @ middle


def run_peer(tool, source, order, to):
    """In a process of its own: what a user's script does."""
    turn, shift = shifted()
    if tool == "SimpleITK":
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        flip = np.diag([-1.0, -1.0, 1.0])  # ITK's world has its first two axes the other way round
        image = sitk.ReadImage(str(source))
        transform = sitk.AffineTransform((flip @ turn @ flip).ravel().tolist(), (flip @ shift).tolist())
        kind = sitk.sitkLinear if order == 1 else sitk.sitkBSpline
        made = sitk.Resample(image, image, transform, kind, 0.0, sitk.sitkFloat32)
        sitk.WriteImage(made, str(to), useCompression=True, compressionLevel=1)
    else:
        image = nibabel.load(source)
        made = scipy.ndimage.affine_transform(
            np.asarray(image.dataobj), turn, shift, order=order, mode="constant", output=np.float32)
        nibabel.Nifti1Image(made, image.affine).to_filename(to)


def whole_processes(options, folder):
    """The sums of what all three wrote must agree, too."""
    source, map_path = folder / "head.nii.gz", folder / "turn.txt"
    nibabel.Nifti1Image(nifti_io.head(), np.eye(4)).to_filename(source)
    turn, shift = shifted()
    np.savetxt(map_path, np.vstack([np.column_stack([turn, shift]), [0, 0, 0, 1]]), fmt="%.17g")
    rows = []
    for name, order in (("linear", 1), ("cubic", 3)):
        taken, sums = {"ours": [], "SimpleITK": [], "SciPy": []}, {}
        for n in range(options.repeats):
            with tempfile.TemporaryDirectory(dir=folder) as out:
                run = common.neuroloom(options, "resample.toml", out, {"head": source, "turn": map_path},
                                       [f'turned.settings.interpolation="{name}"'])
                taken["ours"].append(run.cpu_s)
                [made] = pathlib.Path(out).rglob("*desc-turned_T1w.nii.gz")
                sums["ours"] = float(np.sum(nibabel.load(made).dataobj, dtype=np.float64))
            for tool in ("SimpleITK", "SciPy"):
                to = folder / f"{tool}.nii.gz"
                taken[tool].append(common.Run([sys.executable, __file__, "--peer", tool, source, order, to]).cpu_s)
                sums[tool] = float(np.sum(nibabel.load(to).dataobj, dtype=np.float64))
        if max(sums.values()) - min(sums.values()) > 0.01 * max(sums.values()):
            raise SystemExit(f"{name}: the sums of what was written differ: {sums}")
        a, b, c = (common.median(values) for values in taken.values())
        rows.append(common.row(
            f"resample 256^3 {name}", f"{a:.2f} s", f"SimpleITK {b:.2f} s, SciPy {c:.2f} s",
            ">= 3 x as fast as the faster", min(b, c) >= 3 * a, f"{min(b, c) / a:.1f} x as fast; whole processes, with reading and writing",
        ))
    return rows


def main():
    if "--peer" in sys.argv:
        tool, source, order, to = sys.argv[sys.argv.index("--peer") + 1:]
        return run_peer(tool, pathlib.Path(source), int(order), pathlib.Path(to))
    options = common.arguments(__doc__, repeats=5).parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    random = np.random.default_rng(1)
    voxels = scipy.ndimage.gaussian_filter(random.normal(size=(SIDE,) * 3).astype(np.float32), 2) * 1000
    turn, shift = shifted()
    # Voxel indices are the world here: an identity affine in RAS+, so that all three apply the same numbers.
    map_text = " ".join(repr(float(x)) for x in np.column_stack([turn, shift]).ravel())
    # SciPy and SimpleITK count axes k, j, i in numpy's order and i, j, k in SimpleITK's: the array is i, j, k for SciPy.
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0).copy())
    transform = sitk.AffineTransform(turn.ravel().tolist(), shift.tolist())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        rows += whole_processes(options, pathlib.Path(folder))
        path = pathlib.Path(folder) / "a.nii"
        write_ras(path, voxels)
        kernels = common.Lines(options.programs / "examples/kernels")
        for name, order, kind in (("linear", 1, sitk.sitkLinear), ("cubic", 3, sitk.sitkBSpline)):
            ours, by_sitk, by_scipy = [], [], []
            for n in range(options.repeats + 1):
                _, cpu_s, total = kernels.ask(f"resample {path} {name} {map_text}")
                sitk_s, _ = common.timed(lambda: sitk.Resample(image, image, transform, kind, 0.0, sitk.sitkFloat32))
                scipy_s, made = common.timed(lambda: scipy.ndimage.affine_transform(
                    voxels, turn, shift, order=order, mode="constant", output=np.float32))
                if n > 0 or options.repeats == 0:
                    ours.append(cpu_s), by_sitk.append(sitk_s), by_scipy.append(scipy_s)
            # The sum tells that the same turn was made; the edges are treated differently.
            apart = abs(total - float(made.sum(dtype=np.float64))) / float(np.abs(voxels).sum(dtype=np.float64))
            if apart > 0.01:
                raise SystemExit(f"{name}: another sum than SciPy's, {apart:.1e} of the image's")
            a, b, c = map(common.median, (ours, by_sitk, by_scipy))
            rows.append(common.row(
                f"resample 256^3 {name}, in call", f"{a:.3f} s", f"SimpleITK {b:.2f} s, SciPy {c:.2f} s",
                "", None, f"{min(b, c) / a:.1f} x as fast; the goal is for whole processes",
            ))
        kernels.close()
    common.finish(rows, options)


def write_ras(path, voxels):
    nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(path)


if __name__ == "__main__":
    main()
