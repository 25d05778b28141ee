"""Brain masks of published heads at one default setting, beside what BET2 reaches on the same images.

    python tests/peers/skull_strip.py [--repeats 5]

CPU seconds of the whole process, reading and writing included, one thread. BET2 cannot be installed from a registry and its
licence is non-commercial: its figures are quoted (FSL BET2 2.1 at f = 0.5, the same files, a quiet machine of this class).
"""

import pathlib
import tempfile

import nibabel
import numpy as np

import common
import heads

BET2_CPU_S = "1.5 to 2.1 s"
# Image: Dice of BET2, where it was measured.
IMAGES = {
    "ms01/study1_T1W": 0.976,
    "ms01/study1_T2W": 0.909,
    "ms01/study1_FLAIR": 0.954,
    "ms04/study1_T1W": 0.968,
    "ms04/study1_T2W": None,
    "ms04/study1_FLAIR": None,
    "tumour/t1c": 0.884,
    "colin27/ch2": 0.942,
}
MEDIAN, WORST, COLIN, SECONDS = 0.965, 0.94, 0.93, 0.5


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def main():
    options = common.arguments(__doc__, repeats=5).parse_args()
    rows, scores, times = [], {}, {}
    for name, quoted in IMAGES.items():
        path = options.data / f"{name}.nii.gz"
        if not path.exists():
            rows.append(common.row(f"skull strip {name}", "", "", "", None, "no such image here"))
            continue
        runs = []
        with tempfile.TemporaryDirectory() as folder:
            for n in range(max(1, options.repeats)):
                out = pathlib.Path(folder) / str(n)
                runs.append(common.neuroloom(options, "skull_strip.toml", out, {"head": path}))
            [mask_path] = out.rglob("*desc-brain_mask.nii.gz")
            found = np.asarray(nibabel.load(mask_path).dataobj) > 0
        scores[name] = dice(found, heads.mask_on(nibabel.load(path), options.data, name))
        times[name] = common.median([run.cpu_s for run in runs])
        least = COLIN if name.startswith("colin27") else WORST
        rows.append(common.row(
            f"skull strip {name}", f"Dice {scores[name]:.3f}, {times[name]:.2f} s",
            f"BET2 (quoted) Dice {quoted}, {BET2_CPU_S}" if quoted else "",
            f"Dice >= {least}, <= {SECONDS} s", scores[name] >= least and times[name] <= SECONDS,
            f"peak {max(run.peak_mib for run in runs):.0f} MiB",
        ))
    patients = [score for name, score in scores.items() if not name.startswith("colin27")]
    if patients:
        middle = common.median(patients)
        rows.append(common.row(
            "skull strip, median of the patients", f"Dice {middle:.3f}, {common.median(times.values()):.2f} s",
            "BET2 (quoted) Dice 0.960 over nine images, worst 0.884", f"Dice >= {MEDIAN}, worst >= {WORST}",
            middle >= MEDIAN and min(patients) >= WORST, f"worst {min(patients):.3f}",
        ))
    common.finish(rows, options)


if __name__ == "__main__":
    main()
