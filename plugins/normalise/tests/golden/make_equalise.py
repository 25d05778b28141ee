"""Records what scikit-image's equalize_hist makes of a small masked volume.

    python make_equalise.py > equalise.json        (scikit-image 0.26.0, numpy 2.4.6)
"""

import json
import sys

import numpy as np
from skimage.exposure import equalize_hist

rng = np.random.default_rng(20260101)
NX, NY, NZ = 24, 20, 5

j, i = np.mgrid[0:NY, 0:NX]
mask = np.repeat(((i - 11.5) ** 2 / 100 + (j - 9.5) ** 2 / 70 <= 1)[None], NZ, axis=0)
image = np.empty((NZ, NY, NX), np.float32)
image[0] = rng.gamma(2.0, 100.0, (NY, NX))              # skewed, like tissue
image[1] = rng.integers(0, 257, (NY, NX))               # intensities on the bins' edges
image[1, 9, 11:13] = 0, 256
image[2] = rng.normal(-3.0, 1e-3, (NY, NX))             # a narrow range far from 0
image[3] = rng.choice(np.float32([0.1, 0.7, 1e4]), (NY, NX))   # three intensities
image[4] = (i + j) * np.float32(0.1)                    # ties, and edges hit but for rounding
nan = [[4, 9, 11], [0, 10, 10]]
for k, y, x in nan:
    image[k, y, x] = np.nan

counts = mask & np.isfinite(image)
masked = np.zeros(image.shape)
full = np.zeros(image.shape)
for k in range(NZ):
    masked[k][counts[k]] = equalize_hist(image[k][counts[k]].astype(np.float64), nbins=256)
    full[k] = equalize_hist(np.where(counts[k], image[k], 0).astype(np.float64), nbins=256)

flat = lambda a: [None if isinstance(v, float) and np.isnan(v) else v for v in a.ravel().tolist()]
rounded = lambda a: [round(v, 9) for v in a.ravel().tolist()]
json.dump(
    {"shape": [NX, NY, NZ], "image": flat(image), "mask": mask.astype(int).ravel().tolist(),
     "masked": rounded(masked), "full": rounded(full)},
    sys.stdout,
)
