"""Records the log bias field that SimpleITK's N4 finds in a drawn head: python make_bias.py > bias.json

The head is drawn by the test as well, from the same formula.
"""

import json

import numpy as np
import SimpleITK as sitk

SHAPE = (44, 40, 36)
SPACING = (1.5, 1.5, 2.0)
EVERY = 4


def head():
    i, j, k = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    x, y, z = [(at - (n - 1) / 2) / (n / 2) for at, n in zip((i, j, k), SHAPE)]
    squared = (x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 0.9) ** 2
    folds = np.sin(9 * x + 2) * np.sin(11 * y + 1) * np.sin(8 * z + 0.5)
    tissue = np.where(folds > 0.12, 440.0, np.where(folds > -0.25, 320.0, 160.0))
    field = 0.25 * x - 0.15 * y + 0.2 * x * z - 0.1 * z * z
    noise = ((i * 7919 + j * 104_729 + k * 1_299_709) % 31) - 15
    voxels = np.where(squared < 1, np.floor(tissue * np.exp(field)) + noise, 0)
    return voxels.astype(np.float32), (squared < 1).astype(np.uint8), field


def main():
    voxels, mask, field = head()
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    inside = sitk.GetImageFromArray(mask.transpose(2, 1, 0))
    for volume in (image, inside):
        volume.SetSpacing(SPACING)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.Execute(sitk.Shrink(image, [2, 2, 2]), sitk.Shrink(inside, [2, 2, 2]))
    log_field = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image))
    some = log_field[::EVERY, ::EVERY, ::EVERY].astype(float).round(6)
    print(json.dumps({"sum": float(voxels.sum()), "every": EVERY, "log_field": some.ravel().tolist()}))


if __name__ == "__main__":
    main()
