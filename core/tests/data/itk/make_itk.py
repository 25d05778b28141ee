"""Writes itk.json: ITK's transform files and where they send points, both as SimpleITK says. Run: python make_itk.py itk.json"""

import json
import sys
import tempfile
from pathlib import Path

import SimpleITK as sitk

POINTS = [(0.0, 0.0, 0.0), (10.0, 20.0, 30.0), (-80.0, 65.5, 42.25), (100.0, -100.0, 100.0)]
CENTRE, SHIFT = (3.0, -4.0, 5.0), (7.0, 8.0, -9.0)
MATRIX = (1.1, 0.1, 0.2, -0.1, 0.9, 0.05, 0.02, 0.03, 1.05)


def transforms():
    euler = sitk.Euler3DTransform(CENTRE, 0.1, -0.2, 0.3, SHIFT)
    yield "euler, about y first", euler
    zyx = sitk.Euler3DTransform(CENTRE, 0.1, -0.2, 0.3, SHIFT)
    zyx.SetComputeZYX(True)
    yield "euler, about x first", zyx
    yield "versor", sitk.VersorRigid3DTransform((1.0, 2.0, 3.0), 0.4, SHIFT, CENTRE)
    yield "similarity", sitk.Similarity3DTransform(1.2, (1.0, 2.0, 3.0), 0.4, SHIFT, CENTRE)
    yield "translation", sitk.TranslationTransform(3, SHIFT)
    affine = sitk.AffineTransform(MATRIX, SHIFT, CENTRE)
    yield "affine", affine
    yield "composite", sitk.CompositeTransform([zyx, affine])


def main(target):
    found = []
    for name, transform in transforms():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "transform.tfm"
            sitk.WriteTransform(transform, str(path))
            text = path.read_text()
        found.append({"name": name, "text": text, "points": [[p, transform.TransformPoint(p)] for p in POINTS]})
    content = {"tool": f"SimpleITK {sitk.Version_VersionString()}", "transforms": found}
    Path(target).write_text(json.dumps(content, indent=1) + "\n")


main(sys.argv[1])
