"""Records what nibabel reads from every file of a folder: the numbers that `nifti_odd_files.rs` checks our reader against.

    python sdk/tests/golden/odd_nifti.py ../shared/data > sdk/tests/golden/odd_nifti.json

Reads DATA/odd/** and DATA/colin27/**. For a file that holds one scalar volume: shape, affine, and of its voxels (as
`get_fdata()` gives them, rounded to float32, first axis fastest) number, sum, least, largest, five at fixed places and the
CRC-32 of their little-endian bytes. For any other file: words that must stand in the error. Needs nibabel and numpy.
"""

import json
import platform
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
from nibabel.fileholders import FileHolder


def load(path):
    """As `nibabel.load`, but finds the other half of a pair also where only one of the two is gzipped."""
    stem = path.with_suffix("") if path.suffix == ".gz" else path
    if stem.suffix not in (".hdr", ".img"):
        return nibabel.load(path)
    halves = {}
    for kind, suffix in (("header", ".hdr"), ("image", ".img")):
        plain = stem.with_suffix(suffix)
        packed = plain.with_name(plain.name + ".gz")
        order = (packed, plain) if path.suffix == ".gz" else (plain, packed)
        found = [half for half in order if half.exists()]
        if not found:
            raise FileNotFoundError(order[0].name)
        halves[kind] = FileHolder(str(found[0]))
    return nibabel.Nifti1Pair.from_file_map(halves)


def record(path):
    try:
        image = load(path)
    except FileNotFoundError as error:
        return {"error": f"{error.args[0]}` is missing"}
    dtype = image.get_data_dtype()
    if dtype.fields:
        return {"error": "RGBA" if "A" in dtype.fields else "RGB"}
    if dtype.kind == "c":
        return {"error": dtype.name}
    volumes = int(np.prod(image.shape[3:]))
    if volumes != 1:
        return {"error": f"has {volumes} volumes where 1 is expected"}
    shape = (list(image.shape) + [1, 1])[:3]
    voxels = image.get_fdata(dtype=np.float64).astype("<f4").ravel(order="F")
    places = [0, voxels.size // 3, voxels.size // 2, 2 * voxels.size // 3, voxels.size - 1]
    return {
        "datatype": dtype.newbyteorder("=").name,
        "shape": shape,
        "affine": image.affine[:3].tolist(),
        "voxels": voxels.size,
        "sum": float(voxels.sum(dtype=np.float64)),
        "min": float(voxels.min()),
        "max": float(voxels.max()),
        "samples": [[place, float(voxels[place])] for place in places],
        "crc32": zlib.crc32(voxels.tobytes()),
    }


def main():
    data = Path(sys.argv[1])
    files = sorted(path for folder in ("odd", "colin27") for path in (data / folder).rglob("*") if path.is_file())
    golden = {
        "made_with": {
            "python": platform.python_version(),
            "nibabel": nibabel.__version__,
            "numpy": np.__version__,
        },
        "files": {str(path.relative_to(data)): record(path) for path in files},
    }
    json.dump(golden, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
