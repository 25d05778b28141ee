"""The published heads: which images, which masks, and the affine maps between them."""

import nibabel
import numpy as np

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path):
    """An ITK text transform as a 4 x 4 map between RAS+ worlds; ITK counts in LPS."""
    numbers = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Parameters", "FixedParameters"):
            numbers[name] = np.array([float(word) for word in rest.split()])
    matrix, shift = numbers["Parameters"][:9].reshape(3, 3), numbers["Parameters"][9:12]
    centre = numbers["FixedParameters"][:3]
    whole = np.eye(4)
    whole[:3, :3] = matrix
    whole[:3, 3] = shift + centre - matrix @ centre
    return FLIP @ whole @ FLIP


def read_map(path):
    """A transform as the engine publishes it: ITK text, or four rows."""
    if "Parameters:" in path.read_text():
        return read_itk(path)
    rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines() if line[:1] not in ("", "#")]
    return np.array(rows).reshape(4, 4)


def to_common(data, patient, contrast):
    """The published map from the common space of the masks into an image. `X_to_Y` maps a point of Y to a point of X."""
    folder = data / patient
    flair = read_itk(folder / "study1_FLAIR_to_common_space.txt")
    if contrast == "FLAIR":
        return flair
    return read_itk(folder / f"study1_{contrast}_intrastudy_to_FLAIR.txt") @ flair


# Area of a brain in the outermost slice of a mask from which on the mask counts as cut there and not ended: more than a vertex (mm2).
CUT_AREA_MM2 = 1500.0


def published(image, data, name):
    """The published mask, and the place in it of each voxel of an image (3 x voxels); `name` is `ms01/study1_T1W` and the like."""
    patient, _, file = name.partition("/")
    if patient == "tumour":
        mask, back = nibabel.load(data / "tumour/t1c_brainmask.nii.gz"), np.eye(4)
    elif patient == "colin27":
        mask, back = nibabel.load(data / "colin27/ch2bet.nii.gz"), np.eye(4)
    else:
        mask = nibabel.load(data / patient / "common_brainmask.nii.gz")
        back = np.linalg.inv(to_common(data, patient, file.removeprefix("study1_")))
    to_voxel = np.linalg.inv(mask.affine) @ back @ image.affine
    index = np.indices(image.shape).reshape(3, -1)
    return mask, np.rint(to_voxel[:3, :3] @ index + to_voxel[:3, 3:]).astype(np.int64)


def mask_on(image, data, name):
    """The published mask on the grid of an image, nearest voxel."""
    mask, place = published(image, data, name)
    inside = np.all((place >= 0) & (place < np.array(mask.shape)[:, None]), axis=0)
    found = np.zeros(place.shape[1], bool)
    found[inside] = np.asarray(mask.dataobj)[tuple(place[:, inside])] > 0
    return found.reshape(image.shape)


def seen_on(image, data, name):
    """The voxels of an image of which the published mask says whether they are brain.

    The masks of the patients end where the view of one of their images ends: what another image shows of the brain beyond that
    slice is in no mask, though it is brain.
    """
    mask, place = published(image, data, name)
    voxels = np.asarray(mask.dataobj) > 0
    seen = np.ones(place.shape[1], bool)
    for axis in range(3):
        areas = voxels.sum(axis=tuple({0, 1, 2} - {axis}))
        voxel_mm2 = np.prod(np.delete(mask.header.get_zooms()[:3], axis))
        first, last = np.nonzero(areas)[0][[0, -1]]
        if areas[first] * voxel_mm2 > CUT_AREA_MM2:
            seen &= place[axis] >= first
        if areas[last] * voxel_mm2 > CUT_AREA_MM2:
            seen &= place[axis] <= last
    return seen.reshape(image.shape)
