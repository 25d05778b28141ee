"""What the steps share: arguments, processes that are measured, rows of the table."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ONE_THREAD = dict(
    os.environ,
    ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS="1",
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
)


def arguments(text, **defaults):
    """Options that every step has; `repeats` and others by name with a default."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/data", help="published heads")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release", help="folder of the built programs")
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    return parser


def row(step, ours, peer, goal, holds, note=""):
    """One row: `ours` and `peer` as text with units; `holds` is None where nothing can be said."""
    return {"step": step, "neuroloom": ours, "peer": peer, "goal": goal, "holds": None if holds is None else bool(holds), "note": note}


def finish(rows, options):
    """Prints rows as Markdown and writes them as JSON."""
    print(markdown(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def markdown(rows):
    said = {True: "yes", False: "**no**", None: "not measured"}
    lines = ["| step | Neuroloom | peer | goal | holds | remarks |", "|---|---|---|---|---|---|"]
    for r in rows:
        cells = [r["step"], r["neuroloom"], r["peer"], r["goal"], said[r["holds"]], r["note"]]
        lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def median(values):
    return float(statistics.median(values))


class Run:
    """A process that has ended: `cpu_s` (user and system), `wall_s` and `peak_mib`."""

    def __init__(self, command):
        command = [str(word) for word in command]
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            measure = [sys.executable, "-S", str(HERE / "measure.py"), report.name, *command]
            done = subprocess.run(measure, capture_output=True, text=True, env=ONE_THREAD, check=False)
            taken = json.loads(pathlib.Path(report.name).read_text() or '{"code": "no start"}')
        if taken["code"] != 0:
            raise RuntimeError(f"{' '.join(command)}\nended with {taken['code']}:\n{done.stderr[-2000:]}")
        self.cpu_s, self.wall_s, self.peak_mib = taken["cpu_s"], taken["wall_s"], taken["peak_mib"]


def neuroloom(options, workflow, out, inputs, settings=(), threads=1):
    """Runs a workflow of this folder on one case."""
    command = [options.programs / "neuroloom", "run", HERE / "workflows" / workflow, "--case", "sub-01", "--out", out]
    command += ["--threads", threads, "--no-cache"]
    for name, path in inputs.items():
        command += ["--input", f"{name}={path}"]
    for setting in settings:
        command += ["--set", setting]
    return Run(command)


class Lines:
    """A program that answers each line it is given with numbers."""

    def __init__(self, *command):
        command = [str(word) for word in command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ONE_THREAD
        )

    def ask(self, line=""):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"no answer to `{line}`")
        return [float(word) for word in answer.split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed(work):
    """CPU seconds of this process for `work`, and what it returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result
