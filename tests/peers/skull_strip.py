"""Brain masks of published heads at one default setting, beside what BET2 reaches on the same images.

    python tests/peers/skull_strip.py [--repeats 5]

CPU seconds of the whole process, reading and writing included, one thread. BET2 cannot be installed from a registry and its
licence is non-commercial: its figures are quoted (FSL BET2 2.1 at f = 0.5, the same files, a quiet machine of this class).

Twice over the patients: against the published masks as they are, and where these say something. Those of ms01 end at the lower end
of its T1, in the middle of the cerebellum, which its T2 and FLAIR show whole.
"""

import pathlib
import tempfile

import nibabel
import numpy as np

import common
import heads

BET2_CPU_S = "1.5 to 2.1 s"
# Image: Dice of BET2 against the mask as it is; its median and worst are the same where the masks say something.
IMAGES = {
    "ms01/study1_T1W": 0.976,
    "ms01/study1_T2W": 0.909,
    "ms01/study1_FLAIR": 0.955,
    "ms04/study1_T1W": 0.968,
    "ms04/study1_T2W": 0.785,
    "ms04/study1_FLAIR": 0.952,
    "tumour/t1c": 0.884,
    "colin27/ch2": 0.942,
}
MEDIAN, WORST, COLIN, SECONDS = 0.965, 0.94, 0.93, 0.5


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def over_patients(scores, where, times):
    patients = [score for name, score in scores.items() if not name.startswith("colin27")]
    if not patients:
        return common.row(f"skull strip, median of the patients{where}", "", "", "", None, "no such images here")
    middle, worst = common.median(patients), min(patients)
    quoted = [IMAGES[name] for name in scores if not name.startswith("colin27")]
    return common.row(
        f"skull strip, median of the patients{where}", f"Dice {middle:.3f}, {common.median(times.values()):.2f} s",
        f"BET2 (quoted) Dice {common.median(quoted):.3f}, worst {min(quoted):.3f}",
        f"Dice >= {MEDIAN}, worst >= {WORST}", middle >= MEDIAN and worst >= WORST, f"worst {worst:.3f}",
    )


def main():
    options = common.arguments(__doc__, repeats=5).parse_args()
    rows, scores, seen, times = [], {}, {}, {}
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
        image = nibabel.load(path)
        truth, told = heads.mask_on(image, options.data, name), heads.seen_on(image, options.data, name)
        scores[name], seen[name] = dice(found, truth), dice(found & told, truth & told)
        times[name] = common.median([run.cpu_s for run in runs])
        least = COLIN if name.startswith("colin27") else WORST
        rows.append(common.row(
            f"skull strip {name}", f"Dice {scores[name]:.3f}, {times[name]:.2f} s",
            f"BET2 (quoted) Dice {quoted}, {BET2_CPU_S}",
            f"Dice >= {least}, <= {SECONDS} s", scores[name] >= least and times[name] <= SECONDS,
            f"peak {max(run.peak_mib for run in runs):.0f} MiB",
        ))
    rows += [over_patients(scores, "", times), over_patients(seen, ", where the masks say something", times)]
    common.finish(rows, options)


if __name__ == "__main__":
    main()
