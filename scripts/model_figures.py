#!/usr/bin/env python3
"""Figures of the shipped model on unseen phantoms, through the whole main workflow from native grids, with all sequences and
without some; into the table of a Markdown page on stdout and, with --write, into the model's card (`costs`).

    scripts/model_figures.py FOLDER [--cases 12] [--cases-without 4] [--model FILE] [--write] [-- more arguments of `batch`]

About a CPU-minute and 150 MB of disk a case and pattern. Seeds 8001 and up, which no training and no test uses.
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys

ENGINE = "target/release/neuroloom"
MODEL = "workflows/models/phantom-demo.safetensors"
FIRST_SEED = 8001
# Patterns of absence, as the card names them: sequences in its order, joined by commas.
PATTERNS = ["", "flair", "t1_post"]
# Lesions of at least this diameter are told apart: smaller ones span few voxels (mm).
LARGE_MM = 7.0
FILES = {
    "bravo": "acq-BRAVO_ce-gad_T1w",
    "t1_pre": "acq-CUBE_T1w",
    "t1_post": "acq-CUBE_ce-gad_T1w",
    "flair": "FLAIR",
}
# Optional inputs of `evaluate.toml` that no case has.
UNUSED = ["prob_other", "truth_other", "card", "options"]
# `evaluate.toml` on what the filter accepted: scores elsewhere count as 0.
FILTERED = """
[inputs]
accepted = { type = "labels", grid = "case" }

[stages.chosen]
operator = "select_labels"
inputs.labels = "accepted"
settings.labels = %s

[stages.kept]
operator = "apply_mask"
inputs = { image = "prob", mask = "chosen.mask" }

[stages.score.inputs]
probability = "kept.image"
"""


def batch(workflow, table, out, *more):
    command = [ENGINE, "batch", str(workflow), str(table), str(out), *more]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def write_table(path, columns, rows):
    lines = ["\t".join(columns)] + ["\t".join(str(row[column]) for column in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def labels(cases):
    return [f"sub-{FIRST_SEED + n}" for n in range(cases)]


def run(out, model, pattern, cases, more):
    """The main workflow on the first `cases` phantoms, without the pattern's sequences."""
    present = [name for name in FILES if name not in pattern.split(",")]
    rows = []
    for label in labels(cases):
        anat = f"phantoms/{label}/anat/{label}_"
        rows.append({"participant_id": label} | {name: f"{anat}{FILES[name]}.nii.gz" for name in present})
    table = out / f"cases-{pattern or 'all'}.tsv"
    write_table(table, ["participant_id", *present], rows)
    text = f"extends = {json.dumps(str(pathlib.Path('workflows/brain-metastases.toml').resolve()))}\n"
    absent = [name for name in FILES if name not in present]
    text += "".join(f"inputs.{name}.remove = true\n" for name in absent)
    text += f"stages.segment.settings.models = [{json.dumps(str(model.resolve()))}]\n"
    workflow = out / f"main-{pattern or 'all'}.toml"
    workflow.write_text(text)
    results = out / f"results-{pattern or 'all'}"
    batch(workflow, table, results, "--cache", str(out / "cache"), *more)
    return results


def evaluate(out, results, pattern, cases, threshold, more):
    rows = []
    for label in labels(cases):
        made = f"{results.name}/{label}/anat/{label}_space-orig_"
        rows.append({
            "participant_id": label,
            "split": "test",
            "truth": f"phantoms/derivatives/truth/{label}/anat/{label}_space-orig_desc-lesions_dseg.nii.gz",
            "prob": f"{made}label-lesion_probseg.nii.gz",
            "mask": f"{made}desc-brain_mask.nii.gz",
            "accepted": f"{made}desc-lesions_dseg.nii.gz",
        } | dict.fromkeys(UNUSED, "n/a"))
    columns = ["participant_id", "split", "truth", "prob", "mask", *UNUSED]
    base = pathlib.Path("workflows/evaluate.toml").resolve()
    filtered = out / "filtered.toml"
    filtered.write_text(f"extends = {json.dumps(str(base))}\n{FILTERED % list(range(1, 201))}")
    answers = []
    for name, workflow, used in [("plain", base, columns), ("filtered", filtered, [*columns, "accepted"])]:
        table = out / f"{name}-{pattern or 'all'}.tsv"
        write_table(table, used, rows)
        folder = out / f"evaluation-{name}-{pattern or 'all'}"
        batch(workflow, table, folder, "--no-cache", "--set", f"summary.settings.threshold={threshold}", *more)
        answers.append(json.loads((folder / "evaluation.json").read_text()))
    return answers


def mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def figures(plain, filtered):
    lesions = [lesion for case in filtered["test"] for lesion in case["lesions"]]
    large = [lesion for lesion in lesions if lesion["diameter_mm"] >= LARGE_MM]
    share = lambda group: sum(lesion["found"] for lesion in group) / len(group) if group else None
    return {
        "cases": len(plain["test"]),
        "lesions": len(lesions),
        "lesions_7mm": len(large),
        "auc": mean(case["roc"]["auc"] for case in plain["test"]),
        "sensitivity": share(lesions),
        "sensitivity_7mm": share(large),
        "false_positives": mean(case["lesion"]["fp_10mm3"] for case in filtered["test"]),
        "false_positives_unfiltered": mean(case["lesion"]["fp_10mm3"] for case in plain["test"]),
        "dice": mean(case["voxel"]["dice"] for case in filtered["test"]),
    }


def read_model(path):
    """The header of a safetensors file, and what follows it."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_model(path, header, tensors):
    """The header is padded with spaces, so that the tensors begin at a multiple of 8 bytes."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + tensors)


def shown(costs):
    lines = [
        "| sequences | cases | AUC | found | found, 7 mm and more | false positives a case | before the filter | Dice |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for pattern, row in costs.items():
        name = f"without `{'`, `'.join(pattern.split(','))}`" if pattern else "all"
        small, large = row["lesions"], row["lesions_7mm"]
        lines.append(
            f"| {name} | {row['cases']} | {row['auc']:.3f} | {row['sensitivity']:.2f} of {small} "
            f"| {row['sensitivity_7mm']:.2f} of {large} | {row['false_positives']:.1f} "
            f"| {row['false_positives_unfiltered']:.1f} | {row['dice']:.2f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--cases-without", type=int, default=4, help="cases of each pattern that lacks a sequence")
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path(MODEL))
    parser.add_argument("--write", action="store_true", help="put the figures into the model's card")
    parser.add_argument("more", nargs="*", help="further arguments of `neuroloom batch`")
    given = parser.parse_args()
    out = given.folder
    out.mkdir(parents=True, exist_ok=True)
    seeds = [{"participant_id": label, "seed": FIRST_SEED + n} for n, label in enumerate(labels(given.cases))]
    write_table(out / "seeds.tsv", ["participant_id", "seed"], seeds)
    batch("workflows/phantom.toml", out / "seeds.tsv", out / "phantoms", "--no-cache", *given.more)

    header, tensors = read_model(given.model)
    threshold = header["__metadata__"]["threshold"]
    costs = {}
    for pattern in PATTERNS:
        cases = given.cases_without if pattern else given.cases
        results = run(out, given.model, pattern, cases, given.more)
        costs[pattern] = figures(*evaluate(out, results, pattern, cases, threshold, given.more))
        print(shown(costs), file=sys.stderr)
    rounded = {
        pattern: {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
        for pattern, row in costs.items()
    }
    if given.write:
        header["__metadata__"]["costs"] = json.dumps({"on": "phantoms", "patterns": rounded})
        write_model(given.model, header, tensors)
    print(shown(costs))


if __name__ == "__main__":
    main()
