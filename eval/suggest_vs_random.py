"""Is choosing frames by doubt and variety better than drawing them by chance? At equal budget, on rendered truth.

    python eval/suggest_vs_random.py --data nursery --out results/suggest --seeds 1 2 3

Per seed: a start set is drawn from the training children and a small net trained on it; each arm picks ``--budget``
more pictures from the rest (every still is a one-frame clip), gets their true labels, and trains on from the same
start for the same number of steps. All are judged on children that no arm may pick: the data set's ``val`` and
``--holdout`` children of its ``train``. Boxes are the true ones, for picking too, so that only the choice differs.

Writes OUT/results.json (every cell, with the settings), OUT/progress.txt, OUT/cells/SEED-ARM/ (runs). A cell that is
there is not run again. The arms: ``random``; ``suggest``, as ``heightpose data suggest`` without advice; ``doubt``, the
most doubted; ``variety``, all doubts alike.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from heightpose.config import DataConfig, HardwareConfig, OptimConfig, PoseConfig, TrainConfig
from heightpose.data.coco import Dataset
from heightpose.data.items import Item, head_angle_deg
from heightpose.data.pictures import Pictures
from heightpose.data.suggest.choose import choose
from heightpose.data.suggest.describe import describe
from heightpose.data.suggest.doubt import doubts
from heightpose.data.suggest.looks import Look, look
from heightpose.data.suggest.weigh import weights_of
from heightpose.metrics.pckh import summary
from heightpose.runtime.atomic import make_folder, write_json
from heightpose.runtime.networks import PoseModel
from heightpose.runtime.pipeline import BATCH
from heightpose.types import Detection, FrameResult, Pose

ARMS = ("random", "suggest", "doubt", "variety")


def main() -> None:
    """Run what is missing and print the table."""
    args = _arguments()
    make_folder(args.out / "cells")
    everyone = [i for i in Dataset.load(args.data).items if len(i.people) == 1 and _box(i) is not None]
    train = [i for i in everyone if i.split == "train"]
    order = np.random.default_rng(0).permutation(len(train))
    held = [train[k] for k in order[: args.holdout]]
    pool = [train[k] for k in order[args.holdout :]]
    judged = [replace(i, split="val") for i in everyone if i.split == "val"] + [
        replace(i, split="val") for i in held
    ]
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    settings |= {"pool": len(pool), "judged": len(judged)}
    cells: dict[str, dict] = {}
    for seed in args.seeds:
        rows = np.random.default_rng(seed).permutation(len(pool))
        start, rest = [pool[k] for k in rows[: args.start]], [pool[k] for k in rows[args.start :]]
        base = _cell(args, f"{seed}-start", start, judged, seed, args.start_epochs, None)
        cells[f"{seed}-start"] = base["figures"]
        for arm in args.arms:
            name = f"{seed}-{arm}"
            if not (args.out / "cells" / name / "cell.json").is_file():
                picked = _pick(arm, Path(base["onnx"]), start, rest, args.budget, seed)
                cell = _cell(
                    args, name, start + picked, judged, seed, args.more_epochs, Path(base["weights"])
                )
                cell["picked"] = _strata(picked)
                write_json(args.out / "cells" / name / "cell.json", cell)
            cell = json.loads((args.out / "cells" / name / "cell.json").read_text())
            cells[name] = cell["figures"] | {"picked": cell["picked"]}
            write_json(args.out / "results.json", {"settings": settings, "cells": cells})
    print(table(cells, args.seeds, args.arms))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["random", "suggest"])
    parser.add_argument("--start", type=int, default=150, help="pictures of the start set")
    parser.add_argument("--budget", type=int, default=150, help="pictures each arm adds")
    parser.add_argument("--holdout", type=int, default=400, help="training children kept for judging")
    parser.add_argument("--size", type=int, default=96, help="of the crop, px")
    parser.add_argument("--start-epochs", type=int, default=70)
    parser.add_argument("--more-epochs", type=int, default=28)
    return parser.parse_args()


def _cell(
    args: argparse.Namespace, name: str, train: Sequence[Item], judged: Sequence[Item], seed: int, epochs: int,
    start_from: Path | None,
) -> dict:  # fmt: skip
    """Train on some pictures; the last weights' figures on the judged children. Kept in ``cell.json``."""
    folder = args.out / "cells" / name
    done = folder / "cell.json"
    if done.is_file():
        return json.loads(done.read_text())
    from heightpose.train.loop import train as run_training

    make_folder(folder / "data")
    # The loop insists on validating: a few pictures will do, nothing is chosen by them and the figures come after.
    numbered = [replace(item, id=k) for k, item in enumerate([*train, *judged[:8]])]
    Dataset(folder / "data" / "annotations.json", tuple(numbered)).save(folder / "data")
    config = TrainConfig(
        seed=seed,
        start_from=None if start_from is None else str(start_from),
        data=DataConfig(dirs=(str(folder / "data"),)),
        pose=PoseConfig(input_wh=(args.size, args.size), sigma=1.5),
        optim=OptimConfig(epochs=epochs, lr=2e-3 if start_from is None else 1e-3, warmup_steps=30, ema_decay=0.99,
                          val_every_epochs=epochs),
        hardware=HardwareConfig(threads=1, accelerator="cpu"),
    )  # fmt: skip
    begun, used = time.monotonic(), time.process_time()
    run = run_training(config, folder / "run")
    cell = {
        "figures": _figures(run.onnx, judged),
        "weights": str(run.weights),
        "onnx": str(run.onnx),
        "pictures": len(train),
        "steps": run.metrics["steps"],
        "minutes": (time.monotonic() - begun) / 60,
        "cpu_minutes": (time.process_time() - used) / 60,
    }
    write_json(done, cell)
    line = {k: v for k, v in cell["figures"].items() if isinstance(v, float)}
    with (args.out / "progress.txt").open("a") as file:
        file.write(f"{name}: {json.dumps(line)} in {cell['minutes']:.1f} min\n")
    return cell


def _pick(
    arm: str, model: Path, start: Sequence[Item], rest: Sequence[Item], budget: int, seed: int
) -> list[Item]:
    """``budget`` pictures of the rest."""
    if arm == "random":
        return [rest[k] for k in np.random.default_rng(1000 + seed).permutation(len(rest))[:budget]]
    net = PoseModel.load(str(model))
    looks = [_looks(net, items) for items in (start, rest)]
    doubt = doubts([[one] for one in looks[1]]).total
    if arm == "doubt":
        return [rest[k] for k in np.argsort(-doubt, kind="stable")[:budget]]
    vectors = describe(looks[0] + looks[1])
    weights = np.ones(len(rest)) if arm == "variety" else weights_of(doubt)
    return [
        rest[k] for k in choose(vectors[len(start) :], weights, budget, seed, given=vectors[: len(start)])
    ]


def _looks(net: PoseModel, items: Sequence[Item]) -> list[Look]:
    looks: list[Look] = []
    for poses, rgbs in _posed(net, items):
        looks += look(net, [(FrameResult(0, 0.0, p, 1), rgb) for p, rgb in zip(poses, rgbs, strict=True)])
    return looks


def _posed(net: PoseModel, items: Sequence[Item]) -> list[tuple[list[Pose], list[np.ndarray]]]:
    found = []
    for first in range(0, len(items), BATCH):
        part = items[first : first + BATCH]
        pictures = Pictures(part)
        rgbs = [pictures.picture(k) for k in range(len(part))]
        boxes = [box for item in part if (box := _box(item)) is not None]
        found.append((net.estimate(rgbs, boxes), rgbs))
    return found


def _box(item: Item) -> Detection | None:
    person = item.people[0]
    angle = head_angle_deg(person.kpts_frame, person.visibility > 0)
    return None if angle is None else Detection(person.bbox_xyxy, angle, 1.0)


def _figures(model: Path, judged: Sequence[Item]) -> dict:
    """PCKh on true boxes with flip averaging: all judged children, and each posture."""
    kpts = np.array(
        [pose.kpts_frame for poses, _ in _posed(PoseModel.load(str(model)), judged) for pose in poses]
    )
    truth = np.array([item.people[0].kpts_frame for item in judged])
    seen = np.array([np.where(i.people[0].out_of_frame, 0, i.people[0].visibility) for i in judged])
    postures = np.array([item.people[0].strata.get("posture", "unknown") for item in judged])
    figures: dict = {}
    for at in (0.1, 0.2, 0.5):
        scores = summary(kpts, truth, seen, at)
        figures |= {f"Mean@{at}": scores["mean"], f"MeanSmS@{at}": scores["mean_sms"]}
    for posture in sorted(set(postures)):
        own = postures == posture
        figures[f"MeanSmS@0.2 {posture}"] = summary(kpts[own], truth[own], seen[own], 0.2)["mean_sms"]
        figures[f"people {posture}"] = int(own.sum())
    return figures


def _strata(items: Sequence[Item]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for item in items:
        for stratum in ("posture", "legs", "sensor", "occlusion"):
            value = str(item.people[0].strata.get(stratum, "unknown"))
            counts.setdefault(stratum, {}).setdefault(value, 0)
            counts[stratum][value] += 1
    return counts


def table(cells: dict[str, dict], seeds: Sequence[int], arms: Sequence[str]) -> str:
    """Each figure per arm (mean over seeds, then the seeds), and the paired difference from random."""
    names = [k for k, v in cells[f"{seeds[0]}-start"].items() if isinstance(v, float)]
    lines = []
    for name in names:
        lines.append(f"{name}: start " + _row([cells[f"{s}-start"][name] for s in seeds]))
        values = {arm: [cells[f"{s}-{arm}"][name] for s in seeds] for arm in arms}
        for arm in arms:
            lines.append(f"  {arm:8s} " + _row(values[arm]))
            if arm != "random" and "random" in arms:
                gain = np.subtract(values[arm], values["random"])
                lines.append(
                    f"  {arm:8s} - random {gain.mean():+.2f}  [" + " ".join(f"{g:+.2f}" for g in gain) + "]"
                )
    return "\n".join(lines)


def _row(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}  [" + " ".join(f"{v:.2f}" for v in values) + "]"


if __name__ == "__main__":
    main()
