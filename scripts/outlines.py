"""Draws brain masks to look at: the outline of the mask that `bet` finds at its default on the head.

    python scripts/outlines.py PROGRAM OUT.png HEAD [HEAD ...] [--reference MASK ...]

PROGRAM is a built `neuroloom`. Needs nibabel, numpy, scipy and Pillow. Each head gives a row of six planes through its brain, feet
to vertex, then midline, temporal lobe and front: yellow the mask, green the reference on the same grid, where one is given.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

from overlays import ROOT, plane

# Axis across the plane, and where it cuts the mask's extent, 0 to 1 towards +.
PLANES = [(2, 0.25), (2, 0.5), (2, 0.8), (0, 0.52), (0, 0.25), (1, 0.75)]
COLOURS = {"found": (255, 220, 0), "reference": (0, 220, 90)}


def brain_of(program, head, folder):
    command = [program, "run", str(ROOT / "workflows/brain-extraction.toml"), "--input", f"head={head}"]
    subprocess.run(command + ["--case", "sub-look", "--out", folder, "--no-cache"], check=True, capture_output=True)
    return nib.load(next(Path(folder).rglob("*_desc-brain_mask.nii.gz")))


def row(head, masks):
    found = np.asarray(masks["found"].dataobj) > 0
    places = nib.affines.apply_affine(head.affine, np.argwhere(found))
    low, high = places.min(axis=0), places.max(axis=0)
    bright = np.percentile(np.asarray(head.dataobj)[found], 99.5)
    tiles = []
    for across, share in PLANES:
        middle = (low + high) / 2
        middle[across] = low[across] + share * (high[across] - low[across])
        grey = np.clip(plane(head, np.eye(4), middle, across) / (1.2 * bright), 0, 1)
        tile = np.repeat((grey * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        for name, mask in reversed(masks.items()):
            inside = plane(mask, np.eye(4), middle, across) > 0.5
            tile[inside & ~ndimage.binary_erosion(inside)] = COLOURS[name]
        tiles.append(tile)
    return np.hstack(tiles)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("out")
    parser.add_argument("heads", nargs="+")
    parser.add_argument("--reference", nargs="*", default=[], help="one mask a head, in the same order")
    options = parser.parse_args()
    rows = []
    for number, head in enumerate(options.heads):
        with tempfile.TemporaryDirectory() as folder:
            masks = {"found": brain_of(options.program, head, folder)}
            if number < len(options.reference):
                masks["reference"] = nib.load(options.reference[number])
            rows.append(row(nib.load(head), masks))
    sheet = Image.fromarray(np.vstack(rows)).quantize(48, dither=Image.Dither.NONE)
    sheet.save(options.out, optimize=True)


if __name__ == "__main__":
    main()
