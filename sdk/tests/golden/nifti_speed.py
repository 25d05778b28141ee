"""Times our reader against nibabel on one 256^3 int16 .nii.gz, both in one run, turn about.

    cargo build --release -p neuroloom-sdk --example read_nifti
    python sdk/tests/golden/nifti_speed.py target/release/examples/read_nifti

Our side is `nifti::read_image` (to float32) in its own process, timed inside; nibabel's is
`nibabel.load(f).get_fdata(dtype=float32)` in a fresh process each time as well, timed inside. Both run on one thread; the
file is in the page cache. Two files: a whole head with noise, and one that is zero outside of it.
Prints the median of `REPEATS` and fails below twice nibabel's speed. Needs nibabel and numpy.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np

REPEATS = 9
SIDE = 256
TARGET = 2.0

THEIRS = """
import sys, time, numpy, nibabel
start, cpu = time.perf_counter(), time.process_time()
voxels = nibabel.load(sys.argv[1]).get_fdata(dtype=numpy.float32)
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def head(noise_outside):
    rng = np.random.default_rng(7)
    axis = np.linspace(-1, 1, SIDE)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    voxels = np.where(radius < 0.8, 600 * (1 - radius**2) + 60 * np.sin(20 * radius), 0)
    noise = rng.normal(0, 12, voxels.shape)
    voxels = voxels + np.where((radius < 0.8) | noise_outside, np.abs(noise), 0)
    return voxels.astype(np.int16)


def ours(program, path):
    """Seconds on the clock and of processor time; the latter of the whole process, which does little else."""
    child = subprocess.Popen([program, path], stdout=subprocess.PIPE, text=True)
    clock = float(child.stdout.read().split()[0])
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    return clock, usage.ru_utime + usage.ru_stime


def theirs(path):
    out = subprocess.run([sys.executable, "-c", THEIRS, path], check=True, capture_output=True, text=True).stdout
    clock, processor = map(float, out.split())
    return clock, processor


def median(times):
    return [1e3 * statistics.median(column) for column in zip(*times)]


def main():
    worst = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for name, noise_outside in (("whole_head", True), ("skull_stripped", False)):
            path = Path(folder) / f"{name}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(head(noise_outside), np.eye(4)), path)
            pairs = [(ours(sys.argv[1], path), theirs(path)) for _ in range(REPEATS)]
            our_clock, our_processor = median([pair[0] for pair in pairs])
            their_clock, their_processor = median([pair[1] for pair in pairs])
            worst = min(worst, their_clock / our_clock)
            print(
                f"{name} ({path.stat().st_size / 1e6:.1f} MB): "
                f"ours {our_clock:.0f} ms (processor {our_processor:.0f} ms), "
                f"nibabel {nibabel.__version__} {their_clock:.0f} ms (processor {their_processor:.0f} ms): "
                f"{their_clock / our_clock:.1f} times as fast, processor {their_processor / our_processor:.1f}"
            )
    print(f"median of {REPEATS}, 1 thread a side, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    sys.exit(0 if worst >= TARGET else f"below {TARGET} times nibabel's speed")


if __name__ == "__main__":
    main()
