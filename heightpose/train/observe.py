"""Gathers the evidence of :mod:`heightpose.train.diagnostics` while a run goes, and warns of what it shows.

Everything is a by-product of what training does anyway: no forward pass is made for it, no random number drawn.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from heightpose.config import TrainConfig, from_dict
from heightpose.runtime.atomic import write_json
from heightpose.train.activity import Activity
from heightpose.train.diagnostics import diagnose, report
from heightpose.train.gaze import Gaze
from heightpose.train.module import DivergedError, TrainingModule
from heightpose.train.observed import DIAGNOSTICS, Evidence, Look, Stretch
from heightpose.train.pose_task import PoseTask
from heightpose.train.target_tally import TargetTally

log = logging.getLogger(__name__)

#: Rows kept of the first steps, and half of those kept of all others: neighbours are joined.
_MOST_STRETCHES = 64
#: Weights whose movement is measured: so many layers, so many numbers of each.
_LAYERS, _NUMBERS = 12, 4096
#: Every step is measured up to here, then one of so many.
_EVERY_UNTIL, _EVERY = 100, 20
#: Beside validations, which may be rare, the file is written at this step, and then every so many.
_WRITE_FIRST, _WRITE_EVERY = 50, 500


class Observer(Callback):
    """Writes ``diagnostics.json`` with every validation and logs each finding once.

    Args:
        folder: the run's.
        one_batch: whether the run is the health check that learns one batch by heart.
    """

    def __init__(self, folder: Path, config: TrainConfig, one_batch: bool = False) -> None:
        self.folder, self.config = folder, config
        self.evidence = Evidence(
            kind=config.task, one_batch=one_batch, lr=config.optim.lr,
            warmup_steps=config.optim.warmup_steps, overfit_limit=config.diagnostics.overfit_limit,
        )  # fmt: skip
        self._warned: set[str] = set()
        self._steps: list[tuple[int, Tensor, float, Tensor | None]] = []
        self._begun: list[float] = []
        self._before: list[Tensor] = []
        self._moving: list[Tensor] = []
        self._targets: TargetTally | None = None
        self._gaze: Gaze | None = None
        self._activity: Activity | None = None

    # --- steps ----------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = cast(TrainingModule, pl_module)
        layers = [p for p in module.net.parameters() if p.ndim >= 2 and p.requires_grad]
        chosen = layers[:: -(-len(layers) // _LAYERS)] if layers else []
        # A view of a few output channels, whatever the memory order.
        self._moving = [p.detach()[: max(1, _NUMBERS * len(p) // p.numel())] for p in chosen]
        if len(self._begun) != len(self._moving):  # not of a run that goes on
            self._begun = [float(p.norm()) for p in self._moving]
        if isinstance(module.task, PoseTask):
            skeleton = module.task.skeleton
            self.evidence = replace(
                self.evidence, joints=skeleton.names, flip_map=tuple(int(k) for k in skeleton.flip_map)
            )
            self._targets = TargetTally(module.task)
            samples = trainer.train_dataloader.samples  # type: ignore[union-attr]
            self._targets.add_pictures(samples.pictures.items)

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        step = trainer.global_step
        due = step < _EVERY_UNTIL or step % _EVERY == 0
        self._before = [p.clone() for p in self._moving] if due else []

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any,
        batch_idx: int,
    ) -> None:  # fmt: skip
        module = cast(TrainingModule, pl_module)
        if not module.epoch_loss:
            return
        step = trainer.global_step
        # Where biases alone may learn, no weight moves.
        update = None if self._moving else torch.tensor([0.0, 1.0])
        if self._before:
            moved = torch._foreach_norm(torch._foreach_sub(self._moving, self._before))
            length = torch.stack(torch._foreach_norm(self._before)).float().clamp_min(1e-12)
            begun = torch.tensor(self._begun, device=length.device).clamp_min(1e-12)
            update = torch.stack([(torch.stack(moved).float() / length).median(), (length / begun).median()])
        lr = float(trainer.optimizers[0].param_groups[0]["lr"])
        self._steps.append((step, module.epoch_loss[-1], lr, update))
        if self._targets is not None:
            self._targets.add(batch, maps=step <= 5 or step % 50 == 0)
        if step == _WRITE_FIRST or step % _WRITE_EVERY == 0:
            self._conclude(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._flush()

    # --- validations ----------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        module = cast(TrainingModule, pl_module)
        self._gaze = Gaze(module.ema, module.task)
        self._activity = Activity(module.ema)

    def on_validation_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if self._gaze is not None and self._activity is not None:
            self._gaze.add(batch)
            if self._gaze.full:
                self._stop_looking()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._gaze is None or self._activity is None:
            return
        module = cast(TrainingModule, pl_module)
        self._stop_looking()
        metrics = module.val_metrics if module.val_metrics is not None else {}
        look = Look(
            step=trainer.global_step,
            progress=min(module.progress, 1.0),
            score=points(module.task.kind, metrics),
            train_mean=metrics.get("train Mean@0.1"),
            overfit=metrics.get("overfit"),
        )
        look = self._activity.into(self._gaze.into(look))
        self._gaze = self._activity = None
        earlier = tuple(one for one in self.evidence.looks if one.step < look.step)
        self.evidence = replace(self.evidence, looks=(earlier + (look,))[-_MOST_STRETCHES:])
        self._conclude(trainer)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._stop_looking()
        self._gaze = self._activity = None
        module = cast(TrainingModule, pl_module)
        # The validation may see it first, of a loss that training does not look at with every step.
        broken = module.epoch_loss and not bool(torch.isfinite(module.epoch_loss[-1]))
        if broken or isinstance(exception, DivergedError):
            self.evidence = replace(self.evidence, diverged=trainer.global_step)
            self._conclude(trainer)

    def _stop_looking(self) -> None:
        for one in (self._gaze, self._activity):
            if one is not None:
                one.close()

    # --- conclusions ----------------------------------------------------------------------------------------

    def _conclude(self, trainer: lightning.Trainer) -> None:
        self._flush()
        if self._targets is not None:
            self.evidence = replace(self.evidence, targets=self._targets.targets())
        if not trainer.is_global_zero:
            return
        write_json(self.folder / DIAGNOSTICS, report(self.evidence))
        for finding in diagnose(self.evidence):
            if finding.name not in self._warned:
                self._warned.add(finding.name)
                log.warning("%s: %s. Try: %s", finding.name, finding.seen, "; ".join(finding.advice))

    def _flush(self) -> None:
        """Read the steps' values back, all at once: each reading waits for the device."""
        if not self._steps:
            return
        losses = torch.stack([loss.detach().float() for _, loss, _, _ in self._steps]).tolist()
        moved = [update for *_, update in self._steps if update is not None]
        updates = iter(torch.stack(moved).tolist() if moved else [])
        new = tuple(
            Stretch(
                step, step, _finite(loss), lr,
                *((None, None) if update is None else (_finite(v) for v in next(updates))),
            )
            for (step, _, lr, update), loss in zip(self._steps, losses, strict=True)
        )  # fmt: skip
        self._steps = []
        earlier = tuple(s for s in self.evidence.stretches if s.last < new[0].first)
        self.evidence = replace(self.evidence, stretches=joined(earlier + new))

    def state_dict(self) -> dict[str, Any]:
        self._flush()
        return {"report": report(self.evidence), "warned": sorted(self._warned), "begun": self._begun}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # What the targets were is counted anew: they may have been the mistake that is mended now.
        before = from_dict(Evidence, state_dict["report"]["evidence"], "checkpoint")
        self.evidence = replace(self.evidence, stretches=before.stretches, looks=before.looks)
        self._warned, self._begun = set(state_dict["warned"]), state_dict["begun"]


def joined(stretches: tuple[Stretch, ...]) -> tuple[Stretch, ...]:
    """The first steps one by one, where too high a rate shows; of the others at most ``2 * _MOST_STRETCHES``."""
    head, rest = stretches[:_MOST_STRETCHES], stretches[_MOST_STRETCHES:]
    while len(rest) > 2 * _MOST_STRETCHES:
        pairs = [rest[i : i + 2] for i in range(0, len(rest), 2)]
        rest = tuple(_join(*pair) if len(pair) == 2 else pair[0] for pair in pairs)
    return head + rest


def _join(a: Stretch, b: Stretch) -> Stretch:
    n, m = a.last - a.first + 1, b.last - b.first + 1
    updates = [u for u in (a.update, b.update) if u is not None]
    lengths = [v for v in (a.length, b.length) if v is not None]
    return Stretch(
        a.first, b.last,
        None if a.loss is None or b.loss is None else (n * a.loss + m * b.loss) / (n + m),
        (n * a.lr + m * b.lr) / (n + m),
        sum(updates) / len(updates) if updates else None,
        lengths[-1] if lengths else None,
    )  # fmt: skip


def points(kind: str, metrics: dict[str, Any]) -> float | None:
    """What a run is judged by, 0..100: MeanSmS@0.1, or a detector's recall."""
    value = metrics.get("MeanSmS@0.1" if kind == "pose" else "recall@0.5")
    return None if value is None else float(value) * (1.0 if kind == "pose" else 100.0)


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
