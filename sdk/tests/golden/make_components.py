"""Records how many components scipy.ndimage.label finds in seeded noise, and how large the largest are.

    python make_components.py > components.json        (scipy 1.17.1, numpy 2.4.6)

Voxel n (i fastest) is inside if the top 16 bits of splitmix64's output number n + 1 from `seed` lie below `share` * 65536.
"""

import json
import sys

import numpy as np
from scipy import ndimage


def noise(shape, share, seed):
    with np.errstate(over="ignore"):
        gamma = np.uint64(0x9E3779B97F4A7C15)
        z = np.uint64(seed) + gamma * np.arange(1, np.prod(shape) + 1, dtype=np.uint64)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(48) < int(share * 65536)).reshape(shape[::-1])


volumes = []
for seed, (shape, share) in enumerate(
    [((64, 64, 64), 0.05), ((100, 37, 50), 0.15), ((65, 80, 33), 0.3), ((128, 1, 90), 0.4), ((31, 63, 20), 0.6)], 1
):
    voxels = noise(shape, share, seed)
    found = {}
    for connectivity, steps in ((6, 1), (18, 2), (26, 3)):
        labels, count = ndimage.label(voxels, ndimage.generate_binary_structure(3, steps))
        sizes = np.sort(np.bincount(labels.ravel())[1:])[::-1]
        found[connectivity] = {"count": count, "largest": sizes[:5].tolist()}
    volumes.append({"shape": shape, "share": share, "seed": seed, "inside": int(voxels.sum()), "found": found})
sys.stdout.write("[\n" + ",\n".join(" " + json.dumps(volume) for volume in volumes) + "\n]\n")
