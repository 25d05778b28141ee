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


def mask_on(image, data, name):
    """The published mask on the grid of an image, nearest voxel; `name` is `ms01/study1_T1W` and the like."""
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
    place = np.rint(to_voxel[:3, :3] @ index + to_voxel[:3, 3:]).astype(np.int64)
    inside = np.all((place >= 0) & (place < np.array(mask.shape)[:, None]), axis=0)
    found = np.zeros(index.shape[1], bool)
    found[inside] = np.asarray(mask.dataobj)[tuple(place[:, inside])] > 0
    return found.reshape(image.shape)
