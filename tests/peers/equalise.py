"""Histogram equalisation of 256 slices of 256 x 256, beside scikit-image's `equalize_hist`.

    python tests/peers/equalise.py [--repeats 7]

In call, CPU seconds on one thread, taking turns; scikit-image writes into an array that is there already.
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


def main():
    options = common.arguments(__doc__, repeats=7).parse_args()
    slices = np.ascontiguousarray(nifti_io.head().astype(np.float32).transpose(2, 1, 0))
    out = np.zeros_like(slices)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "slices.f32"
        slices.tofile(path)
        program = common.Lines(options.programs / "examples/equalise", *reversed(slices.shape), path)
        for n in range(options.repeats + 1):
            peer_s, _ = common.timed(lambda: by_slices(slices, out))
            _, cpu_s, _ = program.ask()
            if n > 0:
                theirs.append(peer_s), ours.append(cpu_s)
        program.close()
    ours_s, peer_s = common.median(ours), common.median(theirs)
    common.finish([common.row(
        "histogram equalisation, 256 slices of 256 x 256", f"{ours_s:.4f} s", f"scikit-image {peer_s:.3f} s",
        f">= {GOAL} x as fast", peer_s >= GOAL * ours_s, f"{peer_s / ours_s:.1f} x as fast",
    )], options)


if __name__ == "__main__":
    main()
