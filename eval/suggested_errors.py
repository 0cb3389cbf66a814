"""What do suggested frames look like, by truth? The true error of a net on what each way of choosing picks.

    python eval/suggested_errors.py --data nursery-unseen --model fast --pool 300 --budget 60 --out results/errors.json

A pool of rendered stills with truth (of children that the net did not learn from; true boxes, each still a one-frame
clip) is ranked by the net's own doubt, and each arm of suggest_vs_random.py picks from it. Reported: the rank
correlation of every signal with the true error, the picked frames' error, their share of infants not on their back, and
how well the picks cover the pool. That says whether the choice finds what the net does not know, not whether
training on it helps: suggest_vs_random.py trains.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from suggest_vs_random import _box, _looks

from heightpose.data.coco import Dataset
from heightpose.data.suggest.choose import choose
from heightpose.data.suggest.describe import describe
from heightpose.data.suggest.doubt import doubts
from heightpose.data.suggest.weigh import weights_of
from heightpose.metrics.pckh import head_sizes
from heightpose.runtime.atomic import write_json
from heightpose.runtime.networks import PoseModel
from heightpose.skeleton import INFANT


def main() -> None:
    """Look, pick, compare with the truth, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pool", type=int, default=300)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    items = [i for i in Dataset.load(args.data).items if len(i.people) == 1 and _box(i) is not None]
    items = [items[k] for k in np.random.default_rng(0).permutation(len(items))[: args.pool]]
    looks = _looks(PoseModel.load(args.model), items)
    doubt, vectors = doubts([[one] for one in looks]), describe(looks)

    people = [item.people[0] for item in items]
    truth = np.array([p.kpts_frame for p in people])
    seen = np.array([np.where(p.out_of_frame, 0, p.visibility) for p in people]) == 2
    size, known = head_sizes(truth, np.ones_like(seen))
    pred = np.array([one.pose.kpts_frame for one in looks if one.pose is not None])
    error = np.linalg.norm(pred - truth, axis=-1) / np.where(known, size, 1.0)[:, None]
    counted = seen & known[:, None]
    counted[:, np.setdiff1d(np.arange(len(INFANT)), INFANT.height_joints)] = False
    own = np.array(
        [np.minimum(e, 2.0)[c].mean() if c.any() else np.nan for e, c in zip(error, counted, strict=True)]
    )
    turned = np.array([p.strata.get("posture") != "back" for p in people])

    def describe_rows(rows: np.ndarray) -> dict[str, float]:
        hits = [(error[rows, j] <= 0.1)[counted[rows, j]] for j in INFANT.height_joints]
        nearest = np.linalg.norm(vectors[:, None] - vectors[None, rows], axis=-1).min(axis=1)
        return {
            "MeanSmS@0.1": 100.0 * float(np.mean([h.mean() for h in hits if len(h)])),
            "mean error, head sizes": float(np.nanmean(own[rows])),
            "not on the back": float(turned[rows].mean()),
            "pool's mean distance to the nearest pick": float(nearest.mean()),
        }

    arms: dict[str, Callable[[int], np.ndarray]] = {
        "random": lambda seed: np.random.default_rng(1000 + seed).permutation(len(items))[: args.budget],
        "suggest": lambda seed: np.array(choose(vectors, weights_of(doubt.total), args.budget, seed)),
        "doubt": lambda seed: np.argsort(-doubt.total, kind="stable")[: args.budget],
        "variety": lambda seed: np.array(choose(vectors, np.ones(len(items)), args.budget, seed)),
    }
    scored = np.isfinite(own)
    signals = {
        k: v for k, v in {**doubt.signals, "doubt": doubt.total}.items() if np.isfinite(v[scored]).all()
    }
    result = {
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()},
        "rank correlation with the true error": {
            k: float(spearmanr(v[scored], own[scored]).statistic) for k, v in signals.items()
        },
        "pool": describe_rows(np.arange(len(items))),
        "arms": {name: [describe_rows(pick(seed)) for seed in args.seeds] for name, pick in arms.items()},
    }
    write_json(args.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
