"""What a run leaves behind while it goes: checkpoints, a CSV log and one line per epoch."""

from __future__ import annotations

import csv
import io
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from heightpose.models.checkpoint import save_weights
from heightpose.runtime.atomic import append_text, atomic_path, whole_lines, write_text
from heightpose.runtime.interrupt import Interrupt
from heightpose.train.module import TrainingModule

LAST, BEST = "last.ckpt", "best.safetensors"
PROGRESS, LOG, PARTS = "progress.txt", "log.csv", "losses.csv"

#: Seconds of training that a machine switched off may cost, where validations are further apart.
SAVE_EVERY_S = 300.0

log = logging.getLogger(__name__)


class Keeper(Callback):
    """``last.ckpt`` with every validation, every five minutes and at an interrupt; ``best.safetensors`` at every best
    validation. A validation after the last epoch is in both: a run that goes on must know the best there was.

    Args:
        folder: the run's.

    Attributes:
        about: plain JSON values to describe the weights with.
        anew: of a run that goes on: whether the best so far was validated otherwise, so that the next validation's
            weights are kept whatever its score.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: dict[str, Any] = {}
        self.anew = False
        self.best_score: float | None = None
        self.best: dict[str, Any] | None = None
        self._saved_at = time.monotonic()

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        # Several processes would not agree on the time.
        if trainer.world_size == 1 and time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self._save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = cast(TrainingModule, pl_module)
        if trainer.sanity_checking or module.score is None:
            return
        self._keep_best(trainer, module)
        if trainer.state.fn == TrainerFn.VALIDATING:  # the training has ended, and its checkpoint is older
            self._save(trainer)

    def _keep_best(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        assert module.score is not None
        # Of equal scores the later weights are kept: they are better trained.
        if self.best_score is not None and module.score < self.best_score:
            return
        self.best_score = module.score
        assert module.val_metrics is not None
        self.best = {"epoch": _epoch(trainer), "step": trainer.global_step} | module.val_metrics
        if trainer.is_global_zero:
            state = {k: v.float() if v.is_floating_point() else v for k, v in module.ema.state_dict().items()}
            meta = module.task.meta(module.ema, **self.about, validation=self.best)
            save_weights(self.folder / BEST, state, meta)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # Not after every epoch where validations are rare: epochs may be as short as one step.
        epoch = trainer.current_epoch + 1
        due = epoch % max(1, trainer.check_val_every_n_epoch or 1) == 0
        if due or trainer.should_stop or epoch == trainer.max_epochs:
            self._save(trainer)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        # An interrupt is resumed from here; after a failure the last good epoch is the better start. With
        # several processes saving would wait for the others, which may be gone.
        stopped = isinstance(exception, (KeyboardInterrupt, SIGTERMException))
        if stopped and trainer.world_size == 1:
            self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        module = cast(TrainingModule, trainer.lightning_module)
        # Of weights that are no numbers any more nothing goes on; what was saved before is the better start.
        if trainer.global_step > 0 and all(bool(torch.isfinite(p).all()) for p in module.net.parameters()):
            save_last(trainer, self.folder)
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best = None if self.anew else state_dict["best_score"], state_dict["best"]


def save_last(trainer: lightning.Trainer, folder: Path) -> None:
    """Write ``last.ckpt`` whole or not at all; every process calls it, the first one writes."""
    if trainer.world_size > 1:
        trainer.save_checkpoint(folder / LAST)
        return
    with atomic_path(folder / LAST) as tmp:
        trainer.save_checkpoint(tmp)


class Stopper(Callback):
    """Ctrl-C, SIGTERM and SIGHUP wait for the step under way, so that the run can go on from there to the bit; a second
    Ctrl-C does not.

    Several processes would stop at different steps and wait for each other: there signals stay as they were.
    """

    def __init__(self) -> None:
        self._interrupt = Interrupt("stopping after this step; Ctrl-C again stops at once")
        self._listening = False

    @contextmanager
    def listening(self, trainer: lightning.Trainer) -> Iterator[None]:
        """A signal asks for a stop while this lasts. Around the trainer: it leaves handlers of its own behind."""
        if trainer.world_size > 1:
            yield
            return
        with self._interrupt:
            self._listening = True
            try:
                yield
            finally:
                self._listening = False

    def _alone(self) -> None:
        """Without Lightning's own handler of SIGTERM, which ends a step's bookkeeping or a validation half done."""
        if self._listening:
            self._interrupt.listen()

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._alone()

    def on_validation_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._alone()

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        if self._interrupt.requested:
            raise KeyboardInterrupt


class Journal(Callback):
    """One line per epoch to ``progress.txt``, one row to ``log.csv`` and to ``losses.csv``, from the first process.

    ``losses.csv`` has the training loss of every joint, or of the detector's parts with their learned weights.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._clock = self._spent = 0.0
        self._trained: float | None = None  # until this process has trained a batch
        self._tables: dict[str, tuple[list[str], int]] = {}  # columns, last epoch
        self._told = False  # whether this process has told an epoch

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # Of a run that goes on inside an epoch, which then does not start again.
        self._clock = cast(TrainingModule, pl_module).elapsed_s - self._spent

    def state_dict(self) -> dict[str, Any]:
        return {"spent_s": self._spent if self._trained is None else max(self._trained - self._clock, 0.0)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._spent = state_dict["spent_s"]

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = cast(TrainingModule, pl_module)
        module.epoch_loss, module.images_seen, self._clock = [], 0, module.elapsed_s
        module.tally.sums = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any
    ) -> None:
        # Validation does not count as training speed.
        self._trained = cast(TrainingModule, pl_module).elapsed_s

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module = cast(TrainingModule, pl_module)
        if not trainer.is_global_zero or not module.epoch_loss:
            return
        speed = None  # of an epoch that was left without its last steps, and is shorter now
        if self._trained is not None:
            seconds = max(self._trained - self._clock, 1e-6)
            speed = module.images_seen * trainer.world_size / seconds
        # The clock may end a run before its first validation.
        metrics = module.val_metrics if module.val_metrics is not None else {}
        row: dict[str, Any] = {
            "epoch": _epoch(trainer),
            "step": trainer.global_step,
            "loss": float(torch.stack(module.epoch_loss).mean()),
            **_plain(metrics),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "images/s": speed,
            "elapsed min": module.elapsed_s / 60.0,
        }
        limit = module.config.optim.max_minutes
        if not self._told:  # a run that was killed is resumed from before its last lines
            self._told = True
            lines = whole_lines(self.folder / PROGRESS).splitlines()
            kept = [line for line in lines if (_epoch_told(line) or 0) < row["epoch"]]
            write_text(self.folder / PROGRESS, "".join(f"{line}\n" for line in kept))
        self._tell(row, "" if limit is None else f" of {limit:g}")
        self._append(LOG, row)
        parts: dict[str, Any] = {k: row[k] for k in ("epoch", "step")} | module.tally.means()
        if module.balance is not None:
            parts |= {f"{name} weight": weight for name, weight in module.balance.weights().items()}
        self._append(PARTS, parts)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The validation after the last epoch, whose row is there already."""
        metrics = cast(TrainingModule, pl_module).val_metrics
        rows = self._rows(LOG)
        if trainer.state.fn != TrainerFn.VALIDATING or not trainer.is_global_zero or not metrics or not rows:
            return
        self._tell({"epoch": _epoch(trainer), "step": trainer.global_step} | _plain(metrics), "")
        self._append(LOG, rows[-1] | {"epoch": int(rows[-1]["epoch"])} | _plain(metrics))

    def _tell(self, row: dict[str, Any], end: str) -> None:
        line = "  ".join(f"{k} {_short(v)}" for k, v in row.items() if v is not None) + end
        append_text(self.folder / PROGRESS, line + "\n")
        log.info("%s", line)

    def _rows(self, name: str) -> list[dict[str, Any]]:
        return list(csv.DictReader(io.StringIO(whole_lines(self.folder / name))))

    def _append(self, name: str, row: dict[str, Any]) -> None:
        """Add a row; columns that come later, as validation's do, get their place in the rows before too."""
        columns, last = self._tables.get(name, ([], -1))
        if last < row["epoch"] and row.keys() <= set(columns):
            append_text(self.folder / name, _table(columns, [row]))
        else:
            # A run that was killed is resumed from before its last rows.
            rows = [r for r in self._rows(name) if int(r["epoch"]) < row["epoch"]] + [row]
            columns = list(dict.fromkeys(key for r in rows for key in r))
            head = dict(zip(columns, columns, strict=True))
            write_text(self.folder / name, _table(columns, [head, *rows]))
        self._tables[name] = columns, row["epoch"]


def _table(columns: list[str], rows: list[dict[str, Any]]) -> str:
    """Rows as CSV, without a line of names."""
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _epoch_told(line: str) -> int | None:
    """The epoch that a line of ``progress.txt`` is about; None of somebody's own."""
    found = re.match(r"epoch (\d+) ", line)
    return None if found is None else int(found[1])


def _epoch(trainer: lightning.Trainer) -> int:
    """The epoch under way, counted from 1; after the training its last one."""
    return trainer.current_epoch + (trainer.state.fn == TrainerFn.FITTING)


def _plain(metrics: dict[str, Any]) -> dict[str, Any]:
    """The figures that fit a column."""
    return {name: value for name, value in metrics.items() if not isinstance(value, dict)}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
