"""The evaluation of a manifest, written a second time from its definitions (docs/evaluation.md) with numpy and scipy.

usage: reference.py MANIFEST.json > evaluation.json

It is slow and plain on purpose: whole volumes, all thresholds, all pairs. Volumes are uncompressed NIfTI-1 with an sform.
"""

import itertools
import json
import math
import os
import struct
import sys

import numpy as np
from scipy import ndimage, stats

DEFAULTS = dict(connectivity=26, found_threshold=0.1, overlap_min=0.10, overlap_of="gt", size_limit_mm3=10, criterion="dice",
                threshold=None, truth_mode="components", size_max_mm=45, brats=True)
TYPES = {2: "<u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2", 768: "<u4"}
GROUPS = ["1-3", "4-10", ">10", "all"]
METRICS = {"A": ["auc", "sensitivity", "specificity"], "B": ["dice", "recall", "precision"],
           "C": ["lesion_sensitivity", "fp", "fp_10mm3"]}


def read(path):
    raw = open(path, "rb").read()
    dim = struct.unpack("<8h", raw[40:56])
    kind, = struct.unpack("<h", raw[70:72])
    offset = int(struct.unpack("<f", raw[108:112])[0])
    affine = np.vstack([np.array(struct.unpack("<12f", raw[280:328])).reshape(3, 4), [0, 0, 0, 1]])
    shape = dim[1:4]
    data = np.frombuffer(raw, TYPES[kind], count=int(np.prod(shape)), offset=offset)
    return data.reshape(shape, order="F"), affine


def structure(connectivity):
    return ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])


def components(mask, connectivity=26):
    return ndimage.label(mask, structure(connectivity))


def r12(value):
    return np.round(value, 12)


def roc(scores, truth):
    names = "auc sensitivity specificity youden_j youden_threshold dice_threshold dice_max corner_threshold".split()
    p, n = int(truth.sum()), int((~truth).sum())
    if p == 0 or n == 0:
        return dict.fromkeys(names), None
    thresholds = np.unique(scores)[::-1]
    tp = np.array([0] + [int((scores[truth] >= t).sum()) for t in thresholds])
    fp = np.array([0] + [int((scores[~truth] >= t).sum()) for t in thresholds])
    thresholds = np.concatenate([[np.inf], thresholds.astype(float)])
    tpr, fpr = tp / p, fp / n
    ranks = stats.rankdata(scores)
    auc = (ranks[truth].sum() - p * (p + 1) / 2) / (p * n)
    j, dice = tpr - fpr, 2 * tp / (tp + fp + p)
    corner = (1 - tpr) ** 2 + fpr ** 2
    youden, best, nearest = np.argmax(r12(j)), np.argmax(r12(dice)), np.argmin(r12(corner))
    finite = lambda t: float(t) if np.isfinite(t) else None
    values = dict(auc=auc, sensitivity=tpr[youden], specificity=1 - fpr[youden], youden_j=j[youden],
                  youden_threshold=finite(thresholds[youden]), dice_threshold=finite(thresholds[best]),
                  dice_max=dice[best], corner_threshold=finite(thresholds[nearest]))
    distinct = np.unique(fpr)
    highest = np.array([tpr[fpr == f].max() for f in distinct])
    return values, np.interp(np.arange(101) / 100, distinct, highest)


def large(voxels, volume, limit):
    return voxels * volume >= limit * (1 - 1e-9)


def lesion_figures(truth, count, predicted, volume, o):
    labels, n = components(predicted, o["connectivity"])
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    matches = []
    for lesion in range(1, count + 1):
        inside = truth == lesion

        def overlap(keep):
            both = int((inside & np.isin(labels, keep)).sum())
            touching = [c for c in np.unique(labels[inside]) if c in keep]
            union = int(sizes[touching].sum())
            total = int(inside.sum())
            return both / total, (both / union if union else 0.0), both / (total + union - both), both

        def found(values):
            return values[["gt", "pred", "iou"].index(o["overlap_of"])] > o["overlap_min"]

        every = overlap(list(range(1, n + 1)))
        big = overlap([c for c in range(1, n + 1) if large(sizes[c], volume, o["size_limit_mm3"])])
        matches.append(dict(overlap_gt=every[0], overlap_pred=every[1], iou=every[2], found=found(every),
                            found_any=every[3] > 0, found_10mm3=found(big)))
    in_truth = [int(((labels == c) & (truth > 0)).sum()) for c in range(1, n + 1)]
    is_large = [large(sizes[c], volume, o["size_limit_mm3"]) for c in range(1, n + 1)]
    fp = [v == 0 for v in in_truth]
    strict = [v / sizes[c + 1] <= o["overlap_min"] for c, v in enumerate(in_truth)]
    share = lambda key: sum(m[key] for m in matches) / count if count else None
    figures = dict(n_truth=count, n_pred=n, lesion_sensitivity=share("found"), lesion_sensitivity_any=share("found_any"),
                   lesion_sensitivity_10mm3=share("found_10mm3"), fp=sum(fp),
                   fp_10mm3=sum(a and b for a, b in zip(fp, is_large)), fp_strict=sum(strict),
                   fp_strict_10mm3=sum(a and b for a, b in zip(strict, is_large)))
    return matches, figures


def farthest(points):
    return max((math.dist(a, b) for a, b in itertools.combinations(points, 2)), default=0.0)


def diameters(inside, affine):
    index = np.argwhere(inside).astype(float)
    steps = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    faces = np.unique((index[:, None] + steps[None]).reshape(-1, 3), axis=0)
    world = lambda points: (points @ affine[:3, :3].T)
    return farthest(world(faces)), farthest(world(index))


def surface(mask):
    return mask & ~ndimage.binary_erosion(mask, structure(6))


def hd95(a, b, affine):
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    a, b = (np.argwhere(surface(m)) * spacing for m in (a, b))
    apart = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))
    return max(np.percentile(apart.min(axis=1), 95), np.percentile(apart.min(axis=0), 95))


def brats(truth, predicted, affine, volume):
    dilated, count = components(ndimage.binary_dilation(truth > 0, structure(18)))
    labels, n = components(predicted)
    dice, distance, tp, fn = [], [], 0, 0
    matched = set(np.unique(labels[dilated > 0])) - {0}
    for lesion in range(1, count + 1):
        inside = (dilated == lesion) & (truth > 0)
        if inside.sum() * volume <= 2 * (1 + 1e-9):
            continue
        touching = sorted(set(np.unique(labels[dilated == lesion])) - {0})
        if not touching:
            fn += 1
            dice.append(0.0)
            distance.append(374.0)
            continue
        tp += 1
        own = np.isin(labels, touching)
        dice.append(2 * (own & inside).sum() / (own.sum() + inside.sum()))
        distance.append(hd95(inside, own, affine))
    fp = n - len(matched)
    dice, distance = dice + [0.0] * fp, distance + [374.0] * fp
    return {"tp": tp, "fn": fn, "fp": fp, "lesionwise_dice": np.mean(dice) if dice else 1.0,
            "lesionwise_hd95": np.mean(distance) if distance else 0.0}


class Case:
    def __init__(self, entry, folder, o):
        truth, self.affine = read(os.path.join(folder, entry["truth"]))
        scores, _ = read(os.path.join(folder, entry["prob"]))
        mask, _ = read(os.path.join(folder, entry["mask"]))
        self.id, self.mask, self.o = entry["id"], mask > 0, o
        self.odd = int((~np.isfinite(scores) & self.mask).sum())
        self.scores = np.where(np.isfinite(scores), scores, 0).astype(np.float32)
        self.volume = abs(np.linalg.det(self.affine[:3, :3]))
        if o["truth_mode"] == "instances":
            ids = [i for i in np.unique(truth) if i > 0]
            self.truth = np.zeros(truth.shape, int)
            for number, i in enumerate(ids):
                self.truth[truth == i] = number + 1
            self.count = len(ids)
        else:
            self.truth, self.count = components(truth > 0, o["connectivity"])
        self.positive = self.truth > 0
        self.roc, self.tpr = roc(self.scores[self.mask], self.positive[self.mask])
        self.group = None if self.count == 0 else "1-3" if self.count <= 3 else "4-10" if self.count <= 10 else ">10"

    def head(self):
        return dict(id=self.id, voxel_volume_mm3=self.volume, mask_voxels=int(self.mask.sum()),
                    truth_voxels=int(self.positive.sum()), truth_voxels_outside_mask=int((self.positive & ~self.mask).sum()),
                    nonfinite_in_mask=self.odd, n_lesions=self.count, group=self.group, roc=self.roc)

    def predicted(self, threshold):
        return self.mask & (self.scores >= np.float32(threshold))

    def at(self, threshold):
        inside, predicted = self.positive[self.mask], self.predicted(threshold)[self.mask]
        tp, fp = int((inside & predicted).sum()), int((~inside & predicted).sum())
        fn, tn = int((inside & ~predicted).sum()), int((~inside & ~predicted).sum())
        share = lambda a, b, nothing: a / b if b else nothing
        dice = share(2 * tp, 2 * tp + fp + fn, 1.0)
        other = share(2 * tn, 2 * tn + fp + fn, 1.0)
        return {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "precision": share(tp, tp + fp, None),
                "recall": share(tp, tp + fn, None), "dice": dice, "dice_macro": (dice + other) / 2}

    def whole(self, threshold):
        found, at_found = lesion_figures(self.truth, self.count, self.predicted(self.o["found_threshold"]), self.volume, self.o)
        rows = []
        for lesion, match in enumerate(found):
            inside = self.truth == lesion + 1
            faces, centres = diameters(inside, self.affine)
            place = self.affine[:3, :3] @ np.argwhere(inside).mean(axis=0) + self.affine[:3, 3]
            rows.append(dict(match, case=self.id, voxels=int(inside.sum()), volume_mm3=inside.sum() * self.volume,
                             diameter_mm=faces, diameter_centre_mm=centres, centroid_ras=list(place)))
        rows.sort(key=lambda row: (-row["voxels"], row["centroid_ras"]))
        _, figures = lesion_figures(self.truth, self.count, self.predicted(threshold), self.volume, self.o)
        case = dict(self.head(), voxel=self.at(threshold), lesion=figures, lesion_at_found_threshold=at_found, lesions=rows)
        if self.o["brats"]:
            case["brats"] = brats(self.truth, self.predicted(threshold), self.affine, self.volume)
        return case


def value(case, metric):
    part = {m: part for part, metrics in METRICS.items() for m in metrics}[metric]
    return case[{"A": "roc", "B": "voxel", "C": "lesion"}[part]][metric]


def spread(values):
    values = [v for v in values if v is not None]
    if not values:
        return dict(n=0, mean=None, sd=None)
    return dict(n=len(values), mean=np.mean(values), sd=np.std(values, ddof=1) if len(values) > 1 else 0.0)


def rank_sum(a, b):
    a, b = ([v for v in values if v is not None] for values in (a, b))
    n = [len(a), len(b)]
    small, big = (a, b) if len(a) <= len(b) else (b, a)
    method = "exact" if len(small) < 10 and sum(n) < 20 else "approximate"
    if not small:
        return dict(p=None, method=method, w=None, z=None, n=n)
    ranks = stats.rankdata(small + big)
    w = ranks[:len(small)].sum()
    if method == "exact":
        sums = np.array([sum(c) for c in itertools.combinations(ranks, len(small))])
        p = min(1.0, 2 * min((sums <= w + 1e-9).mean(), (sums >= w - 1e-9).mean()))
        return dict(p=p, method=method, w=w, z=None, n=n)
    if len(set(small + big)) == 1:
        return dict(p=None, method=method, w=w, z=None, n=n)
    found = stats.mannwhitneyu(small, big, alternative="two-sided", method="asymptotic", use_continuity=True)
    total = len(ranks)
    ties = sum(t ** 3 - t for t in np.unique(ranks, return_counts=True)[1])
    variance = len(small) * len(big) / 12 * (total + 1 - ties / (total * (total - 1)))
    away = w - len(small) * (total + 1) / 2
    return dict(p=found.pvalue, method=method, w=w, z=(away - 0.5 * np.sign(away)) / math.sqrt(variance), n=n)


def sizes(cases, o):
    lesions = [row for case in cases for row in case["lesions"]]
    share = lambda rows: sum(r["found"] for r in rows) / len(rows) if rows else None
    curve = []
    for s in range(1, o["size_max_mm"] + 1):
        ge, lt = [r for r in lesions if r["diameter_mm"] >= s], [r for r in lesions if r["diameter_mm"] < s]
        curve.append(dict(threshold=s, n_ge=len(ge), sens_ge=share(ge), n_lt=len(lt), sens_lt=share(lt)))
    bins = max([o["size_max_mm"]] + [int(r["diameter_mm"]) + 1 for r in lesions])
    histogram = []
    for lo in range(bins):
        rows = [r for r in lesions if lo <= r["diameter_mm"] < lo + 1]
        found = sum(r["found"] for r in rows)
        histogram.append(dict(lo=lo, hi=lo + 1, found=found, missed=len(rows) - found))
    missed = [r["diameter_mm"] for r in lesions if not r["found"]]
    return dict(histogram=histogram, curve=curve, n=len(lesions), pooled_sensitivity=share(lesions),
                largest_missed_mm=max(missed, default=None))


def mean_roc(curves):
    curves = np.array(curves)
    n, tpr = len(curves), curves.mean(axis=0)
    sd = curves.std(axis=0, ddof=1) if n > 1 else np.zeros(101)
    half = 1.96 * sd / math.sqrt(n)
    return dict(n=n, tpr=tpr, sd=sd, ci_lo=np.clip(tpr - half, 0, 1), ci_hi=np.clip(tpr + half, 0, 1))


def evaluate(path):
    manifest, folder = json.load(open(path)), os.path.dirname(path)
    o = dict(DEFAULTS, **manifest.get("options", {}))
    dev = [Case(entry, folder, o) for entry in manifest.get("dev", [])]
    test = [Case(entry, folder, o) for entry in manifest["test"]]
    mean = lambda key: (lambda v: float(np.mean(v)) if v else None)([c.roc[key] for c in dev if c.roc[key] is not None])
    thresholds = {name: mean(f"{name}_threshold") for name in ("dice", "youden", "corner")}
    threshold = o["threshold"]
    if threshold is None:
        threshold = thresholds[o["criterion"]]
    if threshold is None:
        threshold = 0.5
    cases = [case.whole(threshold) for case in test]
    of = lambda group: [c for c in cases if c["group"] and group in (c["group"], "all")]
    table3 = {f"3{part}": {g: {m: spread([value(c, m) for c in of(g)]) for m in metrics} for g in GROUPS}
              for part, metrics in METRICS.items()}
    pairs = [("1-3", "4-10"), ("1-3", ">10"), ("4-10", ">10")]
    table4 = {f"4{part}": {f"{a} vs {b}": {m: rank_sum([value(c, m) for c in of(a)], [value(c, m) for c in of(b)])
                                          for m in metrics} for a, b in pairs} for part, metrics in METRICS.items()}
    curves = {g: [c.tpr for c in test if c.tpr is not None and c.group and g in (c.group, "all")] for g in GROUPS}
    return dict(dev=[c.head() for c in dev], thresholds=thresholds, threshold=threshold, test=cases, table3=table3,
                table4=table4, size=sizes(cases, o), roc_mean={g: mean_roc(c) for g, c in curves.items() if c})


def plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (np.bool_,)):
        return bool(value)
    return value.item()


if __name__ == "__main__":
    json.dump(evaluate(sys.argv[1]), sys.stdout, default=plain)
