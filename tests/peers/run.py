#!/usr/bin/env python3
"""Neuroloom beside its peers: one Markdown table of ratios.

    make peers [PEERS="--quick"]
    python3 tests/peers/run.py [--quick] [--steps nifti_io resample ...] [--venv FOLDER] [--data FOLDER] [--json OUT]

Makes a throw-away environment with the peers at fixed versions (or takes the one of --venv or NEUROLOOM_PEERS_VENV), runs each
step beside them, and prints the table with machine, versions and load. `make peers` builds what is needed first.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import venv

import common

# Step: options of a whole run, and of a quick one.
STEPS = {
    "nifti_io": (["--repeats", "7"], ["--repeats", "3"]),
    "resample": (["--repeats", "5"], ["--repeats", "1"]),
    "equalise": (["--repeats", "7"], ["--repeats", "3"]),
    "components": (["--repeats", "9"], ["--repeats", "3"]),
    "skull_strip": (["--repeats", "5"], ["--repeats", "1"]),
    "bias": (["--runs", "5", "--phantoms", "0", "--images", "colin27/ch2"], ["--runs", "1", "--phantoms", "0", "--images", "colin27/ch2"]),
    "register": (["--starts", "20", "--peer_starts", "5", "--far_starts", "4"],
                 ["--starts", "3", "--peer_starts", "1", "--far_starts", "1"]),
}


def environment(folder):
    """The Python of an environment with the peers; made if it is not there."""
    python = folder / "bin/python"
    if not (folder / ".complete").exists() and not (folder / ".ready").exists():
        print(f"installing the peers into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r"]
        subprocess.run([*pip, common.HERE / "requirements.txt"], check=True)
        (folder / ".complete").touch()
    return python


def build(programs):
    """The small programs beside the engine that measure in call."""
    cargo = os.environ.get("CARGO", "cargo")
    if programs != common.ROOT / "target/release":
        return
    examples = ["--example", "kernels", "--example", "components"]
    subprocess.run([cargo, "build", "--release", "--workspace", *examples, "--example", "equalise"], check=True, cwd=common.ROOT)
    writer = common.HERE / "nifti_writer/Cargo.toml"
    target = ["--target-dir", programs / "peers"]
    subprocess.run([cargo, "build", "--release", "--manifest-path", writer, *target], check=True)


def rows_of(step, python, extra, options, folder):
    """The rows of one step; a step that fails is a row that says so."""
    script = common.HERE / f"{step}.py"
    to = folder / f"{step}.json"
    command = [python, script, *extra, "--json", to]
    if step == "components":
        command += ["--program", options.programs / "examples/components"]
    elif step == "bias":
        command += ["--neuroloom", options.programs / "neuroloom", "--data", options.data]
        command.remove("--json"), command.remove(to)
        command.append("--json")
    else:
        command += ["--programs", options.programs, "--data", options.data]
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=common.ONE_THREAD, check=False)
    print(f"{step}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    try:
        if step == "components":
            return components_rows(json.loads(to.read_text()))
        if step == "bias":
            return [bias_row(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
        return json.loads(to.read_text())
    except (OSError, ValueError, KeyError) as error:
        last = (done.stderr.strip().splitlines() or [str(error)])[-1]
        return [common.row(step, "", "", "", None, f"the step failed: {last}")]


def components_rows(results):
    """Labels and statistics against cc3d's labels alone."""
    rows = []
    for result in results:
        runs = result["runs"]
        one, two = runs["neuroloom, 1 thread"], runs["neuroloom, 2 threads"]
        peer, both, scipy = runs["cc3d labels"], runs["cc3d labels + statistics"], runs["scipy labels"]
        rows.append(common.row(
            f"components with statistics, 256^3, {result['mask']}",
            f"{one['cpu_s'] * 1e3:.1f} ms; wall {one['wall_s'] * 1e3:.1f}, on 2 threads {two['wall_s'] * 1e3:.1f} ms",
            f"cc3d labels {peer['cpu_s'] * 1e3:.1f} ms, with statistics {both['cpu_s'] * 1e3:.1f} ms; "
            f"SciPy labels {scipy['cpu_s'] * 1e3:.0f} ms",
            "faster than cc3d's labels alone; 2 threads faster than 1",
            one["cpu_s"] < peer["cpu_s"] and two["wall_s"] < one["wall_s"],
            f"{one['cpu_s'] / peer['cpu_s']:.2f} x cc3d's labels",
        ))
    return rows


def bias_row(found):
    """The goal is for Colin27; the other images say how close the fields are."""
    return common.row(
        f"bias field {found['image']}", f"{found['cpu_s']:.2f} s",
        f"SimpleITK N4 {found['sitk_cpu_s']:.2f} s", "<= 1.5 s, log fields within 2 % RMS",
        found["cpu_s"] <= 1.5 and found["rms"] <= 0.02,
        f"log fields differ by {100 * found['rms']:.2f} % RMS, {found['sitk_cpu_s'] / found['cpu_s']:.1f} x as fast",
    )


def about(python, loads):
    """Date, machine, load, versions, command."""
    cpu = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":")[1].strip()
    installed = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    wanted = ["antspyx", "connected-components-3d", "itk-elastix", "nibabel", "picsl_greedy", "scikit-image", "scipy", "simpleitk"]
    versions = [line for line in installed.splitlines() if line.split("==")[0].lower() in wanted]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=common.ROOT, check=False)
    return "\n".join([
        f"* date: {datetime.date.today()}, commit {commit.stdout.strip()}",
        f"* machine: {os.cpu_count()} cores of {cpu}; load before {loads[0]:.1f}, after {loads[1]:.1f}",
        f"* peers: {', '.join(versions)}; Rust nifti 0.18.0",
        f"* command: `{' '.join(['python3 tests/peers/run.py'] + sys.argv[1:])}`",
    ])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repetitions: tells that all works, and little more")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS))
    default_venv = os.environ.get("NEUROLOOM_PEERS_VENV", common.ROOT / "target/peers-venv")
    parser.add_argument("--venv", type=pathlib.Path, default=pathlib.Path(default_venv))
    parser.add_argument("--data", type=pathlib.Path, default=common.ROOT.parent / "shared/data")
    parser.add_argument("--programs", type=pathlib.Path, default=common.ROOT / "target/release")
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows")
    options = parser.parse_args()
    python = environment(options.venv)
    build(options.programs)
    rows, before = [], os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        for step in options.steps:
            extra = STEPS[step][1 if options.quick else 0]
            rows += rows_of(step, python, extra, options, pathlib.Path(folder))
    print(f"{about(python, (before, os.getloadavg()[0]))}\n\n{common.markdown(rows)}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
