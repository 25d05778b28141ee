#!/usr/bin/env python3
"""Figures of the shipped model on unseen phantoms, through the whole main workflow from native grids, with all sequences and
without some; into the table of a Markdown page on stdout and, with --write, into the model's card (`costs`).

    scripts/model_figures.py FOLDER [--cases 12] [--cases-without 12] [--patterns flair t1_post …] [--model FILE] [--write]
        [-- more arguments of `batch`]

About a CPU-minute and 150 MB of disk a case and pattern. Seeds 8001 and up, which no training and no test uses. Each pattern is
judged at the threshold that the card has for it, on the grid of the BRAVO: what was found on the post-contrast CUBE, where the
BRAVO lacks, is brought there by the true transform.
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
PATTERNS = ["flair", "t1_post", "bravo", "t1_post,flair"]
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
# `evaluate.toml` on results of another grid, which the transform leads to.
INPUTS_MOVED = """
inputs.prob = { type = "probability", grid = "found" }
inputs.mask = { type = "mask", grid = "found" }
inputs.moved = { type = "transform" }
"""
MOVED = """
[stages.prob_on_truth]
operator = "resample"
inputs = { image = "%s", like = "truth", transform = "moved" }

[stages.mask_on_truth]
operator = "resample"
inputs = { image = "mask", like = "truth", transform = "moved" }

[stages.score.inputs]
probability = "prob_on_truth.image"
mask = "mask_on_truth.image"
"""
# On what the filter accepted: scores elsewhere count as 0.
FILTERED = """
inputs.accepted = { type = "labels", grid = "%(grid)s" }

[stages.chosen]
operator = "select_labels"
inputs.labels = "accepted"
settings.labels = %(labels)s

[stages.kept]
operator = "apply_mask"
inputs = { image = "prob", mask = "chosen.mask" }
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


def evaluation(path, moved, filtered):
    """`evaluate.toml`, on results of the truth's grid or another, before the filter or after."""
    kept = "kept.image" if filtered else "prob"
    text = f"extends = {json.dumps(str(pathlib.Path('workflows/evaluate.toml').resolve()))}\n"
    text += INPUTS_MOVED if moved else ""
    text += FILTERED % {"grid": "found" if moved else "case", "labels": list(range(1, 201))} if filtered else ""
    text += MOVED % kept if moved else f'[stages.score.inputs]\nprobability = "{kept}"\n'
    path.write_text(text)
    return path


def evaluate(out, results, pattern, cases, threshold, more):
    moved = "bravo" in pattern.split(",")
    rows = []
    for label in labels(cases):
        made = f"{results.name}/{label}/anat/{label}_space-orig_"
        truth = f"phantoms/derivatives/truth/{label}/anat/{label}_"
        rows.append({
            "participant_id": label,
            "split": "test",
            "truth": f"{truth}space-orig_desc-lesions_dseg.nii.gz",
            "prob": f"{made}label-lesion_probseg.nii.gz",
            "mask": f"{made}desc-brain_mask.nii.gz",
            "moved": f"{truth}from-bravo_to-t1post_mode-image_xfm.txt",
            "accepted": f"{made}desc-lesions_dseg.nii.gz",
        } | dict.fromkeys(UNUSED, "n/a"))
    columns = ["participant_id", "split", "truth", "prob", "mask", *UNUSED] + ["moved"] * moved
    answers = []
    for name, used in [("plain", columns), ("filtered", [*columns, "accepted"])]:
        own = f"{name}-{pattern or 'all'}"
        workflow = evaluation(out / f"{own}.toml", moved, name == "filtered")
        write_table(out / f"{own}.tsv", used, rows)
        folder = out / f"evaluation-{own}"
        setting = f"summary.settings.threshold={threshold}"
        batch(workflow, out / f"{own}.tsv", folder, "--no-cache", "--set", setting, *more)
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
    parser.add_argument("--cases-without", type=int, default=12, help="cases of each pattern that lacks a sequence")
    parser.add_argument("--patterns", nargs="*", default=PATTERNS, help="what lacks, as the card names it")
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path(MODEL))
    parser.add_argument("--write", action="store_true", help="put the figures into the model's card")
    # `argparse` takes arguments after `--` for positional ones, of which there may be no second group.
    own = sys.argv[1:]
    end = own.index("--") if "--" in own else len(own)
    given, more = parser.parse_args(own[:end]), own[end + 1 :]
    out = given.folder
    out.mkdir(parents=True, exist_ok=True)
    seeds = [{"participant_id": label, "seed": FIRST_SEED + n} for n, label in enumerate(labels(given.cases))]
    write_table(out / "seeds.tsv", ["participant_id", "seed"], seeds)
    batch("workflows/phantom.toml", out / "seeds.tsv", out / "phantoms", "--no-cache", *more)

    header, tensors = read_model(given.model)
    card = header["__metadata__"]
    thresholds = json.loads(card.get("thresholds", "{}"))
    costs = {}
    for pattern in ["", *given.patterns]:
        threshold = thresholds.get(pattern, card["threshold"])
        cases = given.cases_without if pattern else given.cases
        results = run(out, given.model, pattern, cases, more)
        costs[pattern] = figures(*evaluate(out, results, pattern, cases, threshold, more))
        print(shown(costs), file=sys.stderr)
    rounded = {
        pattern: {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
        for pattern, row in costs.items()
    }
    if given.write:
        card["costs"] = json.dumps({"on": "phantoms", "patterns": rounded})
        write_model(given.model, header, tensors)
    print(shown(costs))


if __name__ == "__main__":
    main()
