"""Makes ch2_brain.nii.gz: the brain of ch2, from ch2bet of the same Debian package.

    python3 brain_mask.py ch2bet.nii.gz ch2_brain.nii.gz

ch2bet is ch2 after BET; its mask has stray lines and holes. Opened, closed, filled, opened again; largest part kept.
Needs nibabel, numpy, scipy.
"""

import gzip
import sys

import nibabel
import numpy
from scipy import ndimage


def ball(radius):
    """Voxels within `radius` of the middle."""
    steps = numpy.indices((2 * radius + 1,) * 3) - radius
    return (steps**2).sum(0) <= radius * radius + 0.5


def largest(mask):
    """The largest 6-connected part."""
    parts, _ = ndimage.label(mask)
    sizes = numpy.bincount(parts.ravel())
    sizes[0] = 0
    return parts == sizes.argmax()


image = nibabel.load(sys.argv[1])
mask = largest(ndimage.binary_opening(numpy.asarray(image.dataobj) > 0, ball(2)))
mask = ndimage.binary_closing(numpy.pad(mask, 8), ball(3))[8:-8, 8:-8, 8:-8]
mask = largest(ndimage.binary_opening(ndimage.binary_fill_holes(mask), ball(3)))
made = nibabel.Nifti1Image(mask.astype(numpy.uint8), image.affine)
with open(sys.argv[2], "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
    packed.write(made.to_bytes())
print(f"{int(mask.sum())} voxels of 1 mm3")
