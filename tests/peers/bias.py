"""Bias field correction beside SimpleITK's N4: closeness of the two log fields, closeness of each to a known field, CPU seconds.

    python tests/peers/bias.py --neuroloom target/release/neuroloom --data ../shared/data

Both get the same image and the same mask (Otsu's threshold), and fit to the same voxels: every fourth along axes of thin
voxels, every one along thick slices. Fields are compared inside the mask, as logarithms, each less its mean (a bias field's
scale is arbitrary): `rms` is the root mean square of the difference, 0.02 being 2 % of intensity; `relative` is it over the
root mean square of SimpleITK's. `rms_shrunk` is the difference to SimpleITK after its own `Shrink`, which takes the voxels
beside those wherever the middle lies between two voxels and the header's rounding says so: what SimpleITK differs by from itself.
CPU seconds are user + system of a whole process with reading and writing (SimpleITK: `Shrink`), one thread, A B A B.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

import numpy as np
import SimpleITK as sitk

IMAGES = ["colin27/ch2", "ms01/study1_T1W", "ms04/study1_T1W", "tumour/t1", "tumour/t1c"]


def shrink_of(spacing):
    """Four along the finest axis, the nearest to that distance along the others."""
    return [max(1, round(4 * min(spacing) / mm)) for mm in spacing]


def middle_of(image, shrink):
    """Every so manieth voxel, as many as fit, in the middle."""
    start = [(n - (n // step - 1) * step) // 2 for n, step in zip(image.GetSize(), shrink)]
    return image[tuple(slice(at, at + n // step * step - step + 1, step) for at, n, step in zip(start, image.GetSize(), shrink))]


def with_sitk(image_path, mask_path, out, own_shrink=True):
    """What a user of SimpleITK runs: shrink, fit, evaluate at full resolution, divide."""
    image = sitk.ReadImage(image_path, sitk.sitkFloat32)
    mask = sitk.ReadImage(mask_path, sitk.sitkUInt8)
    mask.CopyInformation(image)
    shrink = shrink_of(image.GetSpacing())
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    if own_shrink:
        corrector.Execute(sitk.Shrink(image, shrink), sitk.Shrink(mask, shrink))
    else:
        corrector.Execute(middle_of(image, shrink), middle_of(mask, shrink))
    log_field = sitk.Cast(corrector.GetLogBiasFieldAsImage(image), sitk.sitkFloat32)
    if own_shrink:
        sitk.WriteImage(log_field, f"{out}/log_field.nii")
        sitk.WriteImage(image / sitk.Exp(log_field), f"{out}/image.nii.gz")
    return sitk.GetArrayFromImage(log_field)


def cpu_of(command, env=None):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def neuroloom_command(program, workflow, image_path, mask_path, out, field):
    command = [program, "run", str(workflow), "-i", f"image={image_path}", "-i", f"mask={mask_path}", "--out", out]
    command += ["--case", "sub-01", "--threads", "1", "--no-cache"]
    return command + ["--set", f"unbiased.settings.bias_field={'true' if field else 'false'}"]


def centred(log_field, mask):
    values = log_field[mask]
    return values - values.mean()


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def compare(program, image_path, truth, runs):
    here = pathlib.Path(__file__).parent
    one_thread = dict(os.environ, ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS="1")
    image = sitk.ReadImage(image_path, sitk.sitkFloat32)
    with tempfile.TemporaryDirectory() as folder:
        mask_path = f"{folder}/mask.nii.gz"
        sitk.WriteImage(sitk.OtsuThreshold(image, 0, 1, 200), mask_path)
        mask = sitk.GetArrayFromImage(sitk.ReadImage(mask_path)) != 0
        ours, theirs = [], []
        plain = pathlib.Path(folder, "plain.toml")
        text = (here / "bias.toml").read_text()
        plain.write_text("\n".join(line for line in text.splitlines() if "bias_field" not in line))
        for n in range(runs):
            ours.append(cpu_of(neuroloom_command(program, plain, image_path, mask_path, f"{folder}/plain{n}", False)))
            peer = [sys.executable, __file__, "--sitk", image_path, mask_path, folder]
            theirs.append(cpu_of(peer, one_thread))
        subprocess.run(
            neuroloom_command(program, here / "bias.toml", image_path, mask_path, f"{folder}/out", True),
            check=True, stdout=subprocess.DEVNULL,
        )
        [field_path] = pathlib.Path(folder, "out").rglob("*desc-field_T1w.nii.gz")
        ours_log = centred(np.log(sitk.GetArrayFromImage(sitk.ReadImage(str(field_path)))), mask)
        shrunk_log = centred(sitk.GetArrayFromImage(sitk.ReadImage(f"{folder}/log_field.nii")), mask)
        theirs_log = centred(with_sitk(image_path, mask_path, folder, own_shrink=False), mask)
    row = {
        "rms": rms(ours_log - theirs_log),
        "relative": rms(ours_log - theirs_log) / rms(theirs_log),
        "rms_shrunk": rms(ours_log - shrunk_log),
        "largest": float(np.abs(ours_log - theirs_log).max()),
        "cpu_s": float(np.median(ours)),
        "sitk_cpu_s": float(np.median(theirs)),
    }
    if truth is not None:
        known = centred(truth, mask)
        row |= {"to_truth": rms(ours_log - known), "sitk_to_truth": rms(theirs_log - known), "known": rms(known)}
    return row


def phantom(folder, seed, spacing, shape):
    """A head of three tissues in air with a known smooth field, and noise; returns its path and the log field."""
    rng = np.random.default_rng(seed)
    place = [np.linspace(-1, 1, n) for n in reversed(shape)]
    z, y, x = np.meshgrid(*place, indexing="ij")
    from_middle = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 0.95) ** 2)
    folds = np.sin(9 * x + 2) * np.sin(11 * y + 1) * np.sin(8 * z) + rng.normal(0, 0.05, x.shape)
    tissue = np.where(folds > 0.12, 110.0, np.where(folds > -0.25, 80.0, 40.0))
    tissue = np.where(from_middle < 0.85, tissue, np.where(from_middle < 0.93, 25.0, 130.0))
    amount, angle = rng.uniform(0.15, 0.35), rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    log_field = amount * (along + 0.5 * along * z - 0.6 * from_middle**2 + 0.3 * np.sin(2.2 * z + 1.1 * y))
    voxels = np.where(from_middle < 1, tissue * np.exp(log_field), 0) * 4 + rng.normal(0, 8, x.shape)
    image = sitk.GetImageFromArray(np.abs(voxels).astype(np.float32))
    image.SetSpacing(spacing)
    path = f"{folder}/phantom{seed}.nii.gz"
    sitk.WriteImage(image, path)
    return path, log_field


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neuroloom", default="target/release/neuroloom")
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--phantoms", type=int, default=4)
    parser.add_argument("--images", nargs="*", default=IMAGES)
    parser.add_argument("--json", action="store_true", help="print one JSON object for each row")
    parser.add_argument("--sitk", nargs=3, metavar=("IMAGE", "MASK", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sitk:
        return with_sitk(*options.sitk)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.images:
            path = pathlib.Path(options.data, f"{name}.nii.gz")
            if path.exists():
                rows[name] = compare(options.neuroloom, str(path), None, options.runs)
            else:
                print(f"{path} is missing: left out", file=sys.stderr)
        for seed in range(options.phantoms):
            spacing, shape = [((1, 1, 1), (160, 190, 160)), ((0.8, 0.8, 3.5), (224, 256, 44))][seed % 2]
            path, log_field = phantom(folder, seed, spacing, shape)
            rows[f"phantom {seed}"] = compare(options.neuroloom, path, log_field, options.runs)
    for name, row in rows.items():
        if options.json:
            print(json.dumps({"image": name} | row))
        else:
            print(f"{name:18}", "  ".join(f"{key} {value:.4f}" for key, value in row.items()))


if __name__ == "__main__":
    main()
