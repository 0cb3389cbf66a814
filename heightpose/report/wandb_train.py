"""``heightpose train`` in W&B: losses, figures of training and validation, overfit, worst cases, data and weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback

from heightpose.config import without_places
from heightpose.data.items import Item, Person
from heightpose.data.iterations import chain
from heightpose.data.samples import PoseSamples
from heightpose.data.strata import without_annotator
from heightpose.evaluate.records import FrameRecord, Guess, Truth
from heightpose.evaluate.run import truth_of
from heightpose.report.run_model import RUN
from heightpose.report.wandb_log import Tracker, group_of, order_of, worst_pictures
from heightpose.report.worst import Case
from heightpose.runtime.atomic import write_json
from heightpose.runtime.output import sha256
from heightpose.skeleton import INFANT
from heightpose.train.callbacks import LOG, PARTS
from heightpose.train.loop import Run
from heightpose.train.module import TrainingModule

STEP = "trainer/step"
#: A loss is logged at every so many steps: looking at it waits for the device.
_EVERY = 10
_WORST = 8


class TrainTracking(Callback):
    """A Lightning callback and a context: ``with TrainTracking(...) as tracking: run = train(..., [tracking])``.

    Args:
        folder: the run's.
        mode: of :func:`heightpose.report.wandb_log.resolve_mode`.
        resume: the run goes on; an offline folder then starts with the epochs before, from ``log.csv``, so that the
            latest folder alone has the whole history. Epochs of a run that was killed after them, and that come again,
            are not among them.
    """

    def __init__(self, folder: Path, mode: str, resume: bool = False) -> None:
        self.folder, self.mode, self.resume = folder, mode, resume
        self.tracker: Tracker | None = None
        self.record: dict[str, Any] = {}
        self._samples: Any = None
        self._results: list[Any] = []
        self._goes_on_at = 0

    def __enter__(self) -> TrainTracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.tracker is not None:
            self.tracker.finish(failed=kind is not None)

    # --- while it runs --------------------------------------------------------------------------------------

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._goes_on_at = int(checkpoint["global_step"])

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self.record = json.loads((self.folder / RUN).read_text(encoding="utf-8"))
        module = cast(TrainingModule, pl_module)
        self.tracker = Tracker(
            self.folder, self.mode, describe(self.record, module.config.to_dict()), id=self.record["id"],
            name=self.record["note"] or self.folder.resolve().name, group=group_of(self.record["data"]),
            job_type="train", notes=self.record["note"] or None,
            tags=[self.record["task"], *(f"{k}={v}"[:64] for k, v in self.record["labels"].items())],
        )  # fmt: skip
        self.tracker.axis(
            STEP, "train/*", "val/*", "val per joint/*", "train loss of/*", "overfit/*", "epoch"
        )
        if self.resume and self.mode == "offline":
            self._replay()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any
    ) -> None:
        module = cast(TrainingModule, pl_module)
        if (
            self.tracker is None
            or not self.tracker.on
            or trainer.global_step % _EVERY
            or not module.epoch_loss
        ):
            return
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.tracker.log(
            {STEP: trainer.global_step, "train/step loss": float(module.epoch_loss[-1]), "train/lr": rate}
        )

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = cast(TrainingModule, pl_module)
        if self.tracker is None or not self.tracker.on or not module.epoch_loss:
            return
        epoch = trainer.current_epoch + 1
        loss = float(np.mean([float(value) for value in module.epoch_loss]))
        row = {STEP: trainer.global_step, "epoch": epoch, "train/loss": loss}
        with self.tracker.guarded("cannot read the parts of the loss"):
            row |= _parts(self.folder / PARTS, epoch)
        self.tracker.log(row)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = cast(TrainingModule, pl_module)
        if self.tracker is None or module.val_metrics is None or trainer.sanity_checking:
            return
        self._results = module._results if trainer.world_size == 1 else []
        loaders: Any = trainer.val_dataloaders
        self._samples = getattr(loaders, "samples", None)
        self.tracker.log({STEP: trainer.global_step} | figures(module.val_metrics))

    def _replay(self) -> None:
        path = self.folder / LOG
        if self.tracker is None or not path.is_file():
            return
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                numbers = _numbers(row)
                step, epoch = int(numbers.pop("step")), int(numbers.pop("epoch"))
                if step > self._goes_on_at:
                    break
                known = {"loss": "train/loss", "lr": "train/lr"}
                mine = {known[k]: numbers.pop(k) for k in list(numbers) if k in known}
                for other in ("images/s", "elapsed min"):
                    numbers.pop(other, None)
                parts = _parts(self.folder / PARTS, epoch)
                self.tracker.log({STEP: step, "epoch": epoch} | mine | parts | figures(numbers))

    # --- when it has ended ----------------------------------------------------------------------------------

    def conclude(self, run: Run) -> None:
        """The best weights' figures, tables, worst cases and artifacts."""
        if self.tracker is None or not self.tracker.on:
            return
        with self.tracker.guarded("cannot log what the run came to"):
            self._conclude(self.tracker, run)

    def _conclude(self, tracker: Tracker, run: Run) -> None:
        metrics = run.metrics
        best, train = metrics.get("best") or {}, metrics.get("on train") or {}
        tracker.summary(
            {f"best/{k}": v for k, v in figures(best).items()}
            | {f"best/{k}": v for k, v in figures(train, "train").items()}
            | {"best/step": best.get("step"), "best/overfit": metrics.get("overfit"),
               "best/overfit MeanSmS@0.1": metrics.get("overfit MeanSmS@0.1"), "minutes": metrics.get("minutes")}
        )  # fmt: skip
        if "per joint" in best:
            rows = [
                [
                    joint,
                    value,
                    (best.get("counts") or {}).get(joint),
                    (train.get("per joint") or {}).get(joint),
                ]
                for joint, value in best["per joint"].items()
            ]
            tracker.table("per joint", ["joint", "val PCKh@0.1", "val joints", "train PCKh@0.1"], rows)
        tracker.table(
            "strata", ["split", "stratum", "value", "children", "pictures"], _strata(self.record["data"])
        )
        tracker.pictures("worst cases/val", self._worst())
        self._artifacts(tracker, run)

    def _artifacts(self, tracker: Tracker, run: Run) -> None:
        data = self.record["data"]
        manifest = self.folder / "wandb" / "data-manifest.json"
        write_json(manifest, data_manifest(self.record, run.metrics, self.folder))
        about = {"hash": data.get("hash"), "iteration": data.get("iteration")}
        tracker.artifact(f"data-{group_of(data)}", "dataset", [manifest], about)
        files = [path for path in (run.weights, run.onnx) if path.is_file()]  # some nets have no ONNX
        about = {
            "sha256": {path.name: sha256([path]) for path in files},
            "run": self.record["id"],
            "best": run.metrics.get("best"),
            "data_hash": data.get("hash"),
        }
        name = f"{run.metrics['kind']}-{self.record['id']}"
        tracker.artifact(name, "model", files, about)

    def _worst(self) -> list[tuple[np.ndarray, str]]:
        """Of the last validation, whose predictions are still there: the infants with the largest errors."""
        samples = self._samples
        if not isinstance(samples, PoseSamples) or len(self._results) != len(samples):
            return []
        scored = []
        for index, (pred, truth, seen) in enumerate(self._results):
            _, person, _ = samples.entries[index]
            size = max(float(np.ptp(person.bbox_xyxy.reshape(2, 2), axis=0).max()), 1.0)
            counted = (seen == 2) if (seen == 2).any() else seen > 0
            scored.append((float(np.linalg.norm(pred - truth, axis=-1)[counted].mean() / size), index))
        cases = [
            _case(samples.item(i), samples.entries[i][1], self._results[i][0])
            for _, i in sorted(scored, reverse=True)[:_WORST]
        ]
        return worst_pictures(cases, Path("/"))


def _parts(path: Path, epoch: int) -> dict[str, float]:
    """The epoch's parts of the loss, each joint's among them, where the run keeps them."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row.get("epoch") == str(epoch):
                numbers = _numbers(row)
                return {f"train loss of/{k}": v for k, v in numbers.items() if k not in ("epoch", "step")}
    return {}


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in row.items() if v not in (None, "")}


def describe(record: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What W&B shows of a run beside its figures: settings, data iteration, code version, data hash, parent."""
    data = record["data"]
    iteration = data.get("iteration") or {}
    # Folders by their names: a path says whose machine it was.
    places = {"dirs": [Path(d).name for d in config["data"]["dirs"]], "iterations_root": None}
    start = config.get("start_from")
    settings = {
        **without_places(config),
        "data": config["data"] | places,
        "start_from": None if start is None else Path(start).name,
    }
    return {
        "settings": settings,
        "data_iteration": iteration.get("name"),
        "data_iteration_order": order_of(data),
        "data_iteration_hash": iteration.get("hash"),
        "data_hash": data.get("hash"),
        "code": record["code"],
        "run": record["id"],
        "note": record["note"],
        "labels": record["labels"],
        "seed": record["seed"],
        "parent": record["parent"],
    }


def figures(metrics: Mapping[str, Any], split: str = "val") -> dict[str, Any]:
    """Figures by W&B's names: ``val/Mean@0.1``, ``val per joint/left_heel``, ``train/Mean@0.1``, ``overfit/...``."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        if name in ("counts", "epoch", "step", "people"):
            continue
        if isinstance(value, dict):
            found |= {f"{split} {name}/{k}": v for k, v in value.items() if isinstance(v, (int, float))}
        elif not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        elif name.startswith("overfit"):
            found[f"overfit/{name.removeprefix('overfit').strip() or 'Mean@0.1'}"] = value
        elif name.startswith("train "):
            found[f"train/{name.removeprefix('train ')}"] = value
        else:
            found[f"{split}/{name.removeprefix('val ')}"] = value
    for name in ("Mean@0.1", "MeanSmS@0.1"):
        train, val = found.get(f"train/{name}"), found.get(f"val/{name}")
        if train is not None and val is not None:
            found.setdefault(f"overfit/{name}", train - val)
    return found


def data_manifest(record: Mapping[str, Any], metrics: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a run learned from, by hashes: enough to prove that data are the same, no picture, no name of a child."""
    from heightpose.config import TrainConfig

    data = TrainConfig.load(folder / "config.yaml").data
    found: dict[str, Any] = {
        "hash": record["data"].get("hash"),
        "iteration": record["data"].get("iteration"),
        "sets": [],
    }
    if data.iteration is not None:
        for manifest in chain(data.iteration, data.iterations_root):
            for place, entries in manifest.chunk.items():
                items = [
                    {"id": e.id, "labels_sha256": e.labels, "picture_sha256": e.picture} for e in entries
                ]
                found["sets"].append({"iteration": manifest.name, "folder": Path(place).name, "items": items})
        return found
    for place in data.dirs:
        path = Path(place)
        path = path / "annotations.json" if path.is_dir() else path
        found["sets"].append({"folder": path.parent.name, "annotations_sha256": sha256([path])})
    return found


def _strata(data: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [split, stratum, value, counts["children"], counts["items"]]
        for split, table in (data.get("strata") or {}).items()
        for stratum, row in without_annotator(table).items()
        for value, counts in row.items()
    ]


def _case(item: Item, person: Person, pred: np.ndarray) -> Case:
    truth: Truth = truth_of(person, item.name)
    box = [float(v) for v in person.bbox_xyxy]
    guess = Guess(box, 0.0, 1.0, np.asarray(pred).tolist(), [1.0] * len(INFANT), 0, 1.0)
    distance = np.linalg.norm(np.asarray(pred) - person.kpts_frame, axis=-1)[np.array(truth.visibility) > 0]
    others = len(item.people) > 1 or (item.infants_in_view or 0) > 1
    record = FrameRecord(str(item.path.resolve()), item.frame, item.split, [truth], guess, 1, others)
    size = truth.head_size_px if truth.head_size_px is not None else 1.0
    return Case(record, 0, float(distance.mean() / size) if len(distance) else 0.0)
