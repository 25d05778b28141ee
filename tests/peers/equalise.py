"""Histogram equalisation of 256 slices of 256 x 256, beside scikit-image's `equalize_hist`.

    python tests/peers/equalise.py [--repeats 7]

In call, CPU seconds on one thread, taking turns; scikit-image writes into an array that is there already. Twice: the whole numbers
that a scanner stores, and the same after a bias field or a resampling, when no two voxels are alike.
"""

import pathlib
import tempfile

import numpy as np
from skimage.exposure import equalize_hist

import common
import nifti_io

GOAL = 12


def by_slices(slices, out):
    for n, plane in enumerate(slices):
        out[n] = equalize_hist(plane)


def fractions(slices):
    """A slow change of brightness over the slices, and a part of a number at each voxel that is not air."""
    ramp = np.linspace(0.8, 1.25, len(slices), dtype=np.float32)[:, None, None]
    parts = np.random.default_rng(5).random(slices.shape, dtype=np.float32)
    return (slices * ramp + parts * (slices > 0)).astype(np.float32)


def compared(name, slices, options):
    out = np.zeros_like(slices)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "slices.f32"
        slices.tofile(path)
        program = common.Lines(options.programs / "examples/equalise", *reversed(slices.shape), path)
        for n in range(options.repeats + 1):
            peer_s, _ = common.timed(lambda: by_slices(slices, out))
            _, cpu_s, total = program.ask()
            if n > 0:
                theirs.append(peer_s), ours.append(cpu_s)
        program.close()
    apart = abs(total - float(out.sum(dtype=np.float64))) / out.size
    if apart > 1e-6:
        raise SystemExit(f"{name}: the mean is {apart:.1e} from scikit-image's")
    ours_s, peer_s = common.median(ours), common.median(theirs)
    return common.row(
        f"histogram equalisation, 256 slices of 256 x 256, {name}", f"{ours_s:.4f} s", f"scikit-image {peer_s:.3f} s",
        f">= {GOAL} x as fast", peer_s >= GOAL * ours_s, f"{peer_s / ours_s:.1f} x as fast",
    )


def main():
    options = common.arguments(__doc__, repeats=7).parse_args()
    slices = np.ascontiguousarray(nifti_io.head().astype(np.float32).transpose(2, 1, 0))
    rows = [compared("whole numbers", slices, options), compared("fractions", fractions(slices), options)]
    common.finish(rows, options)


if __name__ == "__main__":
    main()
