"""Rigid registration of published pairs from random starts, beside greedy and elastix.

    python tests/peers/register.py [--starts 20] [--peer_starts 5] [--far_starts 4]

The moving image's header is turned by 5 to 20 degrees and shifted by 5 to 20 mm (far starts: 45 degrees and 60 mm); voxels stay.
CPU seconds of whole processes, with reading and writing, one thread each, taking turns; of the peers, which start Python, those of
reading and registering alone are in brackets. A point's consensus is the mean of where elastix and greedy put it (each by the median over its
starts), so each has a vote against itself. Error: mean over the brain of the distance to the consensus; repeatability: to the
mean of the own results. A start has failed above 2 mm.
"""

import json
import pathlib
import sys
import tempfile
import time

import nibabel
import numpy as np

import common
import heads

PAIRS = [
    ("ms01/study1_T1W", "ms01/study1_FLAIR"),
    ("ms01/study1_T1W", "ms01/study1_T2W"),
    ("ms04/study1_T1W", "ms04/study1_FLAIR"),
    ("ms04/study1_T1W", "ms04/study1_T2W"),
    ("tumour/t1c", "tumour/fla"),
]
FAILED_MM, TRE_MM, REPEAT_MM, CPU_S, WALL_2_S, PEAK_MIB = 2.0, 0.3, 0.02, 1.5, 0.9, 150


def turn(random, degrees, millimetres, centre):
    """A rigid move about `centre`, by so much about a random axis and along a random direction."""
    axis, along = (v / np.linalg.norm(v) for v in random.normal(size=(2, 3)))
    angle = np.radians(degrees)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    move = np.eye(4)
    move[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    move[:3, 3] = millimetres * along + centre - move[:3, :3] @ centre
    return move


def moved(path, to, move):
    image = nibabel.load(path)
    header = image.header.copy()
    header.set_sform(move @ image.affine, 1)
    header.set_qform(move @ image.affine, 1)
    nibabel.Nifti1Image(image.dataobj.get_unscaled(), None, header).to_filename(to)


def run_peer(tool, fixed, moving, out):
    """In a process of its own: registers, and writes the map and what it took."""
    if tool == "greedy":
        from picsl_greedy import Greedy3D

        matrix = out.with_suffix(".mat")
        start = time.process_time()
        Greedy3D().execute(
            f"-i {fixed} {moving} -a -dof 6 -m NMI -n 100x50x10 -ia-image-centers -threads 1 -V 0 -o {matrix}"
        )
        taken = time.process_time() - start
        found = np.loadtxt(matrix)
    else:
        import itk

        itk.imread  # the import is lazy: what it loads is not counted
        itk.elastix_registration_method
        itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
        settings = itk.ParameterObject.New()
        rigid = settings.GetDefaultParameterMap("rigid", 3)
        rigid["AutomaticTransformInitialization"] = ["true"]
        rigid["WriteResultImage"] = ["false"]
        settings.AddParameterMap(rigid)
        start = time.process_time()
        images = [itk.imread(str(path), itk.F) for path in (fixed, moving)]
        _, result = itk.elastix_registration_method(
            *images, parameter_object=settings, log_to_console=False, number_of_threads=1)
        taken = time.process_time() - start
        found = of_elastix(result.GetParameterMap(0))
    out.write_text(json.dumps({"map": found.tolist(), "cpu_s": taken}))


def of_elastix(parameters):
    """An Euler transform of elastix, z y x order unless it says otherwise, as a map between RAS+ worlds."""
    (ax, ay, az, *shift) = [float(x) for x in parameters["TransformParameters"]]
    centre = np.array([float(x) for x in parameters["CenterOfRotationPoint"]])
    about = {
        "x": np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]]),
        "y": np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]]),
        "z": np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]]),
    }
    zyx = "ComputeZYX" in parameters.keys() and parameters["ComputeZYX"][0] == "true"
    matrix = about["z"] @ about["y"] @ about["x"] if zyx else about["z"] @ about["x"] @ about["y"]
    whole = np.eye(4)
    whole[:3, :3] = matrix
    whole[:3, 3] = np.array(shift) + centre - matrix @ centre
    return heads.FLIP @ whole @ heads.FLIP


def peer(tool, fixed, moving, folder):
    out = folder / f"{tool}.json"
    out.unlink(missing_ok=True)
    run = common.Run([sys.executable, __file__, "--peer", tool, fixed, moving, out])
    found = json.loads(out.read_text())
    return np.array(found["map"]), run, found["cpu_s"]


def ours(options, fixed, moving, folder, threads=1):
    with tempfile.TemporaryDirectory(dir=folder) as out:
        run = common.neuroloom(options, "register.toml", out, {"fixed": fixed, "moving": moving}, threads=threads)
        [path] = pathlib.Path(out).rglob("*_mode-image_xfm.txt")
        return heads.read_map(path), run


def mapped(found, points):
    return points @ found[:3, :3].T + found[:3, 3]


def mean_mm(a, b):
    return float(np.linalg.norm(a - b, axis=1).mean())


def brain_points(fixed, data, name):
    mask = heads.mask_on(fixed, data, name)
    index = np.argwhere(mask)[::97]
    return index @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]


def volumes_mib(*paths):
    return sum(np.prod(nibabel.load(path).shape) * 4 for path in paths) / 2**20


def one_pair(options, fixed_name, moving_name, folder, random):
    fixed, moving = (options.data / f"{name}.nii.gz" for name in (fixed_name, moving_name))
    points = brain_points(nibabel.load(fixed), options.data, fixed_name)
    image = nibabel.load(moving)
    centre = image.affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + image.affine[:3, 3]
    places = {"neuroloom": [], "far": [], "greedy": [], "elastix": []}
    cpu, peak, wall_2, lost = {name: [] for name in places}, {name: [0.0] for name in places}, [], {}
    in_call = {"greedy": [], "elastix": []}
    kinds = ["near"] * options.starts + ["far"] * options.far_starts
    for n, kind in enumerate(kinds):
        near = kind == "near"
        move = turn(random, random.uniform(5, 20) if near else 45, random.uniform(5, 20) if near else 60, centre)
        start = folder / "moving.nii.gz"
        moved(moving, start, move)
        back = np.linalg.inv(move)
        found, run = ours(options, fixed, start, folder)
        name = "neuroloom" if near else "far"
        places[name].append(mapped(back @ found, points))
        cpu[name].append(run.cpu_s)
        peak[name].append(run.peak_mib)
        if n < options.peer_starts:
            wall_2.append(ours(options, fixed, start, folder, threads=2)[1].wall_s)
            for tool in ("greedy", "elastix"):
                try:
                    found, run, in_call_s = peer(tool, fixed, start, folder)
                except RuntimeError as error:
                    lost[tool] = str(error).splitlines()[-1]
                    continue
                places[tool].append(mapped(back @ found, points))
                cpu[tool].append(run.cpu_s)
                in_call[tool].append(in_call_s)
                peak[tool].append(run.peak_mib)
    return judged(places, (cpu, in_call), peak, wall_2, lost, (fixed, moving), f"{moving_name} to {fixed_name}")


def judged(places, times, peak, wall_2, lost, paths, pair):
    rows, (cpu, in_call) = [], times
    voters = [np.median(places[tool], axis=0) for tool in ("greedy", "elastix") if places[tool]]
    if not voters:
        return [common.row(f"register {pair}", "", "", "", None, f"no peer ran: {lost}")]
    consensus = np.mean(voters, axis=0)
    texts, results = {}, {}
    for tool, found in places.items():
        if found:
            errors = [mean_mm(place, consensus) for place in found]
            own = np.mean(found, axis=0)
            repeat = common.median([mean_mm(place, own) for place in found])
            failed = sum(error > FAILED_MM for error in errors)
            results[tool] = (common.median(errors), failed, repeat, common.median(cpu[tool]))
            alone = f" ({common.median(in_call[tool]):.2f})" if in_call.get(tool) else ""
            texts[tool] = (f"{results[tool][3]:.2f} s{alone}; {results[tool][0]:.2f} mm (worst {max(errors):.2f}); "
                           f"{failed} of {len(found)} failed; repeats to {repeat:.3f} mm; {max(peak[tool]):.0f} MiB")
    peers = "; ".join(f"{tool}: {texts[tool]}" for tool in ("greedy", "elastix") if tool in texts)
    error, failed, repeat, cpu_s = results["neuroloom"]
    above = max(peak["neuroloom"]) - volumes_mib(*paths)
    rows.append(common.row(
        f"register {pair}", texts["neuroloom"], peers,
        f"<= {CPU_S} s, <= {TRE_MM} mm, 0 failed, <= {REPEAT_MM} mm, <= {PEAK_MIB} MiB above the volumes",
        cpu_s <= CPU_S and error <= TRE_MM and failed == 0 and repeat <= REPEAT_MM and above <= PEAK_MIB,
        f"{above:.0f} MiB above the volumes" + "".join(f"; {tool} failed: {why}" for tool, why in lost.items()),
    ))
    if wall_2:
        wall = common.median(wall_2)
        rows.append(common.row(
            f"register {pair}, wall on 2 threads", f"{wall:.2f} s", "", f"<= {WALL_2_S} s", wall <= WALL_2_S))
    if "far" in results:
        rows.append(common.row(
            f"register {pair}, 45 degrees and 60 mm", texts["far"], "", "0 failed", results["far"][1] == 0))
    return rows


def main():
    if sys.argv[1:2] == ["--peer"]:
        tool, fixed, moving, out = sys.argv[2:]
        return run_peer(tool, fixed, moving, pathlib.Path(out))
    parser = common.arguments(__doc__, starts=20, peer_starts=5, far_starts=4, pairs=len(PAIRS), seed=1)
    options, rows = parser.parse_args(), []
    random = np.random.default_rng(options.seed)
    for fixed, moving in PAIRS[: options.pairs]:
        if not all((options.data / f"{name}.nii.gz").exists() for name in (fixed, moving)):
            rows.append(common.row(f"register {moving} to {fixed}", "", "", "", None, "no such images here"))
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows += one_pair(options, fixed, moving, pathlib.Path(folder), random)
    common.finish(rows, options)


if __name__ == "__main__":
    main()
