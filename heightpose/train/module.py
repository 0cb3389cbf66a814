"""The training module: one network, its moving average, and a learning rate that knows the clock."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from heightpose.config import TrainConfig
from heightpose.data.device_batches import DeviceBatches
from heightpose.errors import ConfigError, HeightposeError
from heightpose.train.balance import make_balance
from heightpose.train.detector_task import DetectorTask
from heightpose.train.losses import Tally
from heightpose.train.optimise import (
    check_schedule,
    freeze,
    frozen_parts,
    keep_statistics,
    learning_rate,
    make_optimizer,
    with_statistics,
)
from heightpose.train.task_parts import Batch
from heightpose.train.tasks import Task


class DivergedError(HeightposeError):
    """A loss that is not finite any more."""


class TrainingModule(lightning.LightningModule):
    """Trains ``net``, keeps ``ema``, its exponential moving average, and validates the latter.

    Args:
        net: what to train.
        task: makes loss and metrics of its answers.
        total_steps: optimizer steps at which the learning rate ends.

    Attributes:
        elapsed_before_s: training time of the runs this one resumes.
        val_metrics: of the latest validation, with "val loss"; None before the first.
        score: of the latest validation, higher is better.
        validated_step: when that was.
        judged_on: what scores of validations depend on, beside the weights: only those with the same compare.
        on_train: judges a network on some training samples, for the overfit of every validation; None: not asked.
    """

    def __init__(self, net: nn.Module, task: Task, config: TrainConfig, total_steps: int) -> None:
        super().__init__()
        check_schedule(config.optim)
        has_weights = bool(config.start_from or _pretrained(config))
        if config.optim.norm == "kept" and not has_weights:
            raise ConfigError(
                "there are no statistics to keep", where="optim.norm", got="kept", expected="batch",
                hint="Name the weights that they come with in start_from",
            )  # fmt: skip
        if Path(config.start_from or "").suffix.lower() == ".onnx" and config.optim.norm != "kept":
            raise ConfigError(
                "the normalisations of an .onnx have no data's statistics that batches could go on from",
                where="optim.norm", got=config.optim.norm, expected="kept",
                hint="Or start from the .safetensors of the same training",
            )  # fmt: skip
        if config.optim.freeze != "none" and not has_weights:
            raise ConfigError(
                "what would be frozen has learned nothing", where="optim.freeze", got=config.optim.freeze,
                expected="none", hint="Name the weights to keep in start_from",
            )  # fmt: skip
        self.net = net.to(memory_format=torch.channels_last) if config.hardware.channels_last else net
        self.ema = copy.deepcopy(self.net).requires_grad_(False).eval()
        if config.hardware.compile:
            self.net.compile()  # in place: the names of its weights stay
        self._frozen = tuple(frozen_parts(self.net, config.optim.freeze))
        # Layers that no weights came with have nothing worth keeping.
        self._kept = tuple(with_statistics(self.net)) if config.optim.norm == "kept" else ()
        self.balance = make_balance(config.loss.balance, task.part_names, config.loss.gradnorm_alpha)
        self.task, self.config, self.total_steps = task, config, max(1, total_steps)
        self.elapsed_before_s = 0.0
        self._started: float | None = None
        self.val_metrics: dict[str, Any] | None = None
        self.score: float | None = None
        self.validated_step: int | None = None
        self.judged_on: dict[str, Any] = {}
        self.on_train: Callable[[nn.Module], dict[str, Any]] | None = None
        self.epoch_loss: list[Tensor] = []
        self.tally = Tally(task.part_names)
        self.images_seen = 0
        self._random: dict[str, Any] | None = None
        self._results: list[Any] = []
        self._val_losses: list[tuple[float, int]] = []
        self.train()  # Lightning takes the modes of all parts as it finds them

    def require_batches_of(self, size: int) -> None:
        """Raises ConfigError where batches are of one sample and a layer normalises over the batch alone.

        ResNeSt's attention does, and every network does whose coarsest map is one pixel at this input.
        """
        if size > 1:
            return
        net = copy.deepcopy(self.net)

        def look(name: str, value: Tensor) -> None:
            if value.numel() == value.shape[1]:
                raise ConfigError(
                    f"a batch of one sample cannot be normalised: the layer {name} sees one value of each channel",
                    where="optim.batch_size, or the training samples", got=size, expected="at least 2",
                    hint="Add pictures, choose another backbone, or keep the statistics of start_from (optim.norm)",
                )  # fmt: skip

        for name, part in net.named_modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:
                part.register_forward_pre_hook(lambda _, values, name=name: look(name, values[0]))
        width, height = self.task.input_wh
        # Dropout draws numbers: the training's own stay as they are.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            net(torch.zeros(1, 3, height, width))

    # --- progress -------------------------------------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Training time so far, resumed runs included."""
        return self.elapsed_before_s + (0.0 if self._started is None else time.monotonic() - self._started)

    @property
    def progress(self) -> float:
        """0..1: whichever of steps and time is further."""
        steps = self.global_step / self.total_steps
        limit = self.config.optim.max_minutes
        return max(steps, 0.0 if limit is None else self.elapsed_s / (60.0 * limit))

    def on_train_start(self) -> None:
        self._started = time.monotonic()
        batches = self.trainer.train_dataloader
        if isinstance(batches, DeviceBatches) and batches.device is None:
            batches.device = self.device
        self.epoch_loss = [value.to(self.device) for value in self.epoch_loss]  # read from a checkpoint
        if self.tally.sums is not None:
            self.tally.sums = self.tally.sums.to(self.device)
        if self._random is not None:
            _set_random_state(self._random)

    def train(self, mode: bool = True) -> TrainingModule:
        super().train(mode)
        self.ema.eval()  # its normalisation statistics are averages, never its own
        freeze(self._frozen)
        keep_statistics(self._kept)
        return self

    # --- training -------------------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> int | None:
        # A finished run that was resumed has nothing left to do. However short its time, a run takes a first step: its
        # weights are validated and its log has a line.
        if self.global_step > 0 and self._clock_says_stop():
            return -1
        rate = learning_rate(self.config.optim, self.global_step, self.progress)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        return None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        raw = self.net(batch["image"].float())
        if self.balance is None:
            loss = self.task.loss(raw, self.task.taught(batch), self.tally)
        else:
            assert isinstance(self.task, DetectorTask)
            parts = self.task.parts(raw, batch, self.tally)
            loss = self.balance(parts, self.task.shared(self.net))
        self.epoch_loss.append(loss.detach())
        self.images_seen += len(batch["image"])
        # Looking at the value waits for the device, so not at every step.
        if self.global_step % 20 == 0 and not bool(torch.isfinite(loss)):
            raise self._diverged(float(loss.detach()))
        return loss

    def _diverged(self, loss: float) -> DivergedError:
        return DivergedError(
            f"training diverged at step {self.global_step}", got=f"a loss of {loss}",
            hint="Lower optim.lr or optim.clip_norm, or use 32-true precision",
        )  # fmt: skip

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self._update_ema()
        self._clock_says_stop()

    def _clock_says_stop(self) -> bool:
        limit = self.config.optim.max_minutes
        over = limit is not None and self.elapsed_s >= 60.0 * limit
        # Every process must stop at the same step, or the others wait for its gradients for ever.
        if self.trainer.world_size > 1 and limit is not None:
            over = self.trainer.strategy.reduce_boolean_decision(over, all=False)
        if over:
            self.trainer.should_stop = True
        return over

    @torch.no_grad()
    def _update_ema(self) -> None:
        # A young average follows quickly: it would otherwise remember the random start for hundreds of steps.
        decay = min(self.config.optim.ema_decay, (1.0 + self.global_step) / (10.0 + self.global_step))
        averages, values = [], []
        for average, value in zip(
            self.ema.state_dict().values(), self.net.state_dict().values(), strict=True
        ):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1.0 - decay)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Lightning does not clip gradients in front of a fused step in mixed precision.
        fused = self.trainer.precision == "32-true"
        own = () if self.balance is None else tuple(self.balance.parameters())
        return make_optimizer(self.config.optim, self.net.parameters(), own, fused=fused)

    # --- validation -----------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._results, self._val_losses = [], []

    def validation_step(self, batch: Batch | None, batch_idx: int) -> None:
        if batch is None:  # the other processes still have samples, and every step is taken by all
            return
        raw = self.ema(batch["image"].float())
        loss = float(self.task.loss(raw, batch))
        if not math.isfinite(loss):  # the average took in a step that the training's own check has yet to see
            raise self._diverged(loss)
        self._val_losses.append((loss, len(batch["image"])))
        self._results += self.task.validate(raw, batch)

    def on_validation_epoch_end(self) -> None:
        results, losses = self._results, self._val_losses
        if self.trainer.world_size > 1:
            results = _gathered(results)
            losses = _gathered(losses)
        if not results:
            return
        loss = sum(value * n for value, n in losses) / sum(n for _, n in losses)
        self.val_metrics = self.task.metrics(results) | {"val loss": loss}
        self.val_metrics |= self._overfit(self.val_metrics)
        score = self.task.score(self.val_metrics)
        self.score = -loss if score is None else score
        self.validated_step = self.trainer.global_step

    def _overfit(self, val: dict[str, Any]) -> dict[str, Any]:
        """Of a pose net its figures on training samples, and Mean@0.1 there minus on validation."""
        if self.on_train is None or self.task.kind != "pose" or not self.trainer.is_global_zero:
            return {}
        with self.trainer.precision_plugin.forward_context():
            train = self.on_train(self.ema)
        found = {f"train {name}": train[name] for name in ("Mean@0.1", "MeanSmS@0.1") if name in train}
        return found | {"overfit": difference(train, val, "Mean@0.1")}

    # --- checkpoints ----------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["heightpose"] = {
            "elapsed_s": self.elapsed_s,
            "kind": self.task.kind,
            "kept": self._names_of(self._kept),
            "random": _random_state(),
            # What the epoch's row of the log is made of, should it end in another process.
            "epoch_loss": torch.stack(self.epoch_loss).cpu() if self.epoch_loss else torch.zeros(0),
            "images_seen": self.images_seen,
            "parts": None if self.tally.sums is None else self.tally.sums.cpu(),
            "val_metrics": self.val_metrics,
            "score": self.score,
            "validated_step": self.validated_step,
            "judged_on": self.judged_on,
        }

    def _names_of(self, layers: Sequence[nn.Module]) -> list[str]:
        chosen = {id(layer) for layer in layers}
        return [name for name, layer in self.net.named_modules() if id(layer) in chosen]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        own = checkpoint["heightpose"]
        self.elapsed_before_s = float(own["elapsed_s"])
        if "random" not in own:  # written before runs were resumed to the bit
            return
        if self.config.optim.norm == "kept":
            # The network was built without the weights that the run started from.
            self._kept = tuple(self.net.get_submodule(name) for name in own["kept"])
            self.train(self.training)
        self._random = own["random"]
        self.epoch_loss, self.images_seen = list(own["epoch_loss"]), own["images_seen"]
        self.tally.sums = own["parts"]
        self.val_metrics, self.score = own["val_metrics"], own["score"]
        self.validated_step = own["validated_step"]


def _pretrained(config: TrainConfig) -> bool | str:
    return config.pose.pretrained if config.task == "pose" else config.detector.pretrained


def _random_state() -> dict[str, Any]:
    """Torch's generators: dropout and its like draw from them. Batches have generators of their own."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    # Another number of devices cannot go on to the bit in any case.
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])


def _gathered(values: list[Any]) -> list[Any]:
    """The lists of all processes, joined."""
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, values)
    return [value for part in parts for value in part]


def difference(train: dict[str, Any], val: dict[str, Any] | None, name: str) -> float | None:
    """Overfit: the figure on train minus that on validation; None where one of them is missing."""
    a, b = train.get(name), (val or {}).get(name)
    return None if a is None or b is None else a - b
