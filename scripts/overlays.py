"""Draws registrations to look at: the outline of the fixed image on the moving one, before and after.

    python scripts/overlays.py PROGRAM OUT.png FIXED MOVING [FIXED MOVING ...] [--dof 6]

PROGRAM is a built `neuroloom`. Needs nibabel, numpy, scipy and Pillow. Each pair gives a row: three planes through the middle of
the fixed image before (headers as they are), then the same after.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

SIDE = 160  # pixels of one picture
SPACING_MM = 1.5  # of one pixel
ROOT = Path(__file__).resolve().parent.parent


def register(program, fixed, moving, dof, folder):
    command = [program, "run", str(ROOT / "workflows/coregister.toml"), "--input", f"fixed={fixed}"]
    command += ["--input", f"moving={moving}", "--set", f"register.settings.degrees_of_freedom={dof}"]
    subprocess.run(command + ["--out", folder, "--no-cache"], check=True, capture_output=True)
    return np.loadtxt(next(Path(folder).rglob("*_xfm.txt")))


def plane(image, to_world, middle, across):
    """A plane of an image through a point of the fixed world; `to_world` maps the fixed world to the image's."""
    first, second = [axis for axis in range(3) if axis != across]
    steps = (np.arange(SIDE) - SIDE / 2) * SPACING_MM
    points = np.tile(np.append(middle, 1.0)[:, None, None], (1, SIDE, SIDE))
    points[first] += steps[None, :]
    points[second] += -steps[:, None]
    voxels = np.linalg.inv(image.affine) @ to_world @ points.reshape(4, -1)
    found = ndimage.map_coordinates(np.asarray(image.dataobj, dtype=np.float32), voxels[:3], order=1)
    return found.reshape(SIDE, SIDE)


def grey(picture):
    low, high = np.percentile(picture, [1, 99.5])
    return np.clip((picture - low) / max(high - low, 1e-6), 0, 1)


def outline(picture):
    """Where the smoothed picture crosses its levels: skin, and borders within the head."""
    smooth = ndimage.gaussian_filter(grey(picture), 1.0)
    edge = np.zeros(smooth.shape, bool)
    for level in (0.12, 0.5):
        inside = smooth > level
        edge |= inside & ~ndimage.binary_erosion(inside)
    return edge


def drawn(fixed, moving, fixed_to_moving, middle):
    pictures = []
    for across in (2, 1, 0):
        edge = outline(plane(fixed, np.eye(4), middle, across))
        shown = np.repeat((255 * grey(plane(moving, fixed_to_moving, middle, across)))[..., None], 3, axis=2)
        shown[edge] = (255, 200, 0)
        pictures.append(shown.astype(np.uint8))
    return np.hstack(pictures)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("out")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--dof", default="6")
    options = parser.parse_args()
    rows = []
    for fixed_path, moving_path in zip(options.images[::2], options.images[1::2]):
        with tempfile.TemporaryDirectory() as folder:
            found = register(options.program, fixed_path, moving_path, options.dof, f"{folder}/out")
        fixed, moving = nib.load(fixed_path), nib.load(moving_path)
        middle = (fixed.affine @ np.append((np.array(fixed.shape[:3]) - 1) / 2, 1))[:3]
        gap = np.full((SIDE, 8, 3), 255, np.uint8)
        rows.append(np.hstack([drawn(fixed, moving, np.eye(4), middle), gap, drawn(fixed, moving, found, middle)]))
    Image.fromarray(np.vstack(rows)).quantize(48).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
