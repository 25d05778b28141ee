#!/usr/bin/env python3
"""Connected components against cc3d and SciPy, in one run.

    cargo build --release -p neuroloom-sdk --example components
    python3 tests/peers/components.py [--program target/release/examples/components] [--repeats 15] [--json OUT]

Needs numpy, connected-components-3d and scipy. Two masks of 256^3 voxels: 498 blobs, and noise that sets 30 % of the voxels.
The programs take turns, so that a busy machine slows all of them alike, and each is charged the CPU time it took (all its
threads); the least of the repeats counts. Neuroloom makes labels AND statistics in that time; of cc3d labels alone and labels
with statistics are shown. The labels must be the same partition, in the same order.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cc3d
import numpy as np
import scipy.ndimage

SIDE = 256


def blobs(count=498, seed=1):
    """Balls of radius 2 to 8 voxels, no two of which touch."""
    random = np.random.default_rng(seed)
    taken = np.zeros((SIDE,) * 3, np.uint8)
    made = 0
    while made < count:
        radius = int(random.integers(2, 9))
        centre = random.integers(radius + 1, SIDE - radius - 1, 3)
        box = tuple(slice(c - radius - 1, c + radius + 2) for c in centre)
        if taken[box].any():
            continue
        offsets = np.arange(-radius - 1, radius + 2)
        x, y, z = np.meshgrid(offsets, offsets, offsets, indexing="ij")
        taken[box] |= (x * x + y * y + z * z <= radius * radius).astype(np.uint8)
        made += 1
    return taken


def noise(share=0.3, seed=2):
    return (np.random.default_rng(seed).random((SIDE,) * 3) < share).astype(np.uint8)


class Neuroloom:
    """The program, waiting for lines."""

    def __init__(self, program, mask, folder):
        path = Path(folder) / "mask.u8"
        path.write_bytes(mask.tobytes())
        command = [program, str(path), *map(str, mask.shape)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, connectivity, threads):
        self.process.stdin.write(f"{connectivity} {threads}\n")
        self.process.stdin.flush()
        wall, cpu, count, total = self.process.stdout.readline().split()
        return float(wall), float(cpu), int(count), int(total)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed(work):
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def checksum(labels):
    flat = labels.ravel().astype(np.uint64)
    places = np.arange(1, flat.size + 1, dtype=np.uint64)
    return int((flat * places).sum(dtype=np.uint64))


def in_memory_order(labels):
    """Numbers components by their first voxel in memory, 1 and up."""
    flat = labels.ravel()
    values, first = np.unique(flat, return_index=True)
    order = np.argsort(first[values != 0], kind="stable")
    renumber = np.zeros(int(values.max()) + 1, np.uint32)
    renumber[values[values != 0][order]] = np.arange(1, order.size + 1)
    return renumber[flat]


def compare(name, mask, program, connectivity, repeats):
    # The file has i fastest; numpy's C order has its last axis fastest, so the axes are reversed: the same voxels.
    structure = scipy.ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    runs = {"neuroloom, 1 thread": [], "neuroloom, 2 threads": [], "cc3d labels": [],
            "cc3d labels + statistics": [], "scipy labels": []}
    with tempfile.TemporaryDirectory() as folder:
        ours = Neuroloom(program, mask.transpose(2, 1, 0).copy(order="F").transpose(2, 1, 0), folder)
        expected = checksum(in_memory_order(cc3d.connected_components(mask, connectivity=connectivity)))
        for _ in range(repeats):
            for threads, key in ((1, "neuroloom, 1 thread"), (2, "neuroloom, 2 threads")):
                wall, cpu, count, total = ours.run(connectivity, threads)
                if total != expected:
                    sys.exit(f"{name}: labels of {key} differ from those of cc3d")
                runs[key].append((wall, cpu))
            wall, cpu, labels = timed(lambda: cc3d.connected_components(mask, connectivity=connectivity))
            runs["cc3d labels"].append((wall, cpu))
            wall2, cpu2, _ = timed(lambda: cc3d.statistics(labels))
            runs["cc3d labels + statistics"].append((wall + wall2, cpu + cpu2))
            wall, cpu, _ = timed(lambda: scipy.ndimage.label(mask, structure))
            runs["scipy labels"].append((wall, cpu))
        ours.close()
    return {"mask": name, "connectivity": connectivity, "components": count, "set": float(mask.mean()),
            "runs": {key: {"cpu_s": min(c for _, c in times), "wall_s": min(w for w, _ in times),
                           "wall_median_s": float(np.median([w for w, _ in times]))}
                     for key, times in runs.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/examples/components")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--connectivity", type=int, nargs="+", default=[26])
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    results = [compare(name, mask, options.program, connectivity, options.repeats)
               for name, mask in (("498 blobs", blobs()), ("30 % noise", noise()))
               for connectivity in options.connectivity]
    for result in results:
        print(f"{result['mask']}, connectivity {result['connectivity']}: {result['components']} components")
        for key, run in result["runs"].items():
            print(f"  {key:26} {run['cpu_s'] * 1e3:8.1f} ms CPU {run['wall_s'] * 1e3:8.1f} ms")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))
    # The goal: labels and statistics on one thread in less than cc3d's labels alone, and less time on two threads.
    missed = [result["mask"] for result in results
              if result["runs"]["neuroloom, 1 thread"]["cpu_s"] >= result["runs"]["cc3d labels"]["cpu_s"]
              or result["runs"]["neuroloom, 2 threads"]["wall_s"] >= result["runs"]["neuroloom, 1 thread"]["wall_s"]]
    print(f"goal missed for: {', '.join(missed)}" if missed else "goal met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
