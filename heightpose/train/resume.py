"""What a stopped run goes on from, looked at before anything of its folder is touched."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from heightpose.config import TrainConfig
from heightpose.errors import ConfigError, FileFormatError
from heightpose.report.run_files import read_identity
from heightpose.report.run_model import CONFIG, RUN
from heightpose.train.callbacks import LAST
from heightpose.train.module import TrainingModule

log = logging.getLogger(__name__)

#: What Lightning and the training module need of a checkpoint.
_PARTS = ("state_dict", "optimizer_states", "loops", "callbacks", "epoch", "global_step", "heightpose")
#: Settings that the optimizer's own numbers, or what the net's answers mean, depend on.
_BINDING = ("optim.optimizer", "optim.freeze", "optim.norm", "loss.balance", "loss.kind")
#: Settings that say how long, where and how closely watched, not what is learned. Which data they are is told by their
#: hash, wherever they lie, and what the run started from is in the checkpoint.
_FREE = (
    "optim.epochs", "optim.max_minutes", "optim.val_every_epochs", "data.workers", "data.memory_mb", "data.dirs",
    "validation.tta", "start_from", "pose.pretrained", "detector.pretrained",
)  # fmt: skip
_FREE_GROUPS = ("hardware.", "diagnostics.")
#: Of those groups: settings that change the numbers all the same.
_TOLD_OF_GROUPS = ("hardware.precision", "hardware.devices")


def require_resumable(folder: Path, module: TrainingModule, config: TrainConfig) -> bool:
    """Check that ``folder/last.ckpt`` is whole and of this training; a warning for each thing that changed since.

    Args:
        module: as it would begin, with its network and what its validations will depend on.

    Returns:
        Whether scores of validations to come can be compared with those so far.

    Raises:
        FileFormatError: a checkpoint that is damaged or none of a training.
        ConfigError: one of another task, network or optimizer, or one with nothing left to train for other data.
    """
    path = folder / LAST
    checkpoint = _read(path)
    hint = "Resume with the configuration the run was started with, or choose another --out"
    kind = checkpoint["heightpose"].get("kind")
    if kind != module.task.kind:
        raise ConfigError(
            "the run to resume trained something else", where=path, expected=module.task.kind, got=kind,
            hint=hint,
        )  # fmt: skip
    own, saved = (
        {name: tuple(value.shape) for name, value in state.items()}
        for state in (module.state_dict(), checkpoint["state_dict"])
    )
    other = sorted(name for name in own.keys() | saved.keys() if own.get(name) != saved.get(name))
    if other:
        raise ConfigError(
            "the run to resume trained another network", where=path, expected=f"{len(own)} tensors like these",
            got=f"{len(other)} others, first {other[0]}", hint=hint,
        )  # fmt: skip
    if config.optim.norm == "kept" and "kept" not in checkpoint["heightpose"]:
        raise ConfigError(
            "the checkpoint does not tell which statistics are kept", where=path,
            expected="one written since November 2026",
            hint="Start anew in another --out from best.safetensors, with --start-from",
        )  # fmt: skip
    done = _epochs_done(checkpoint)
    if done > config.optim.epochs:
        raise ConfigError(
            "the run to resume has more epochs behind it", where=path, expected=f"at most {config.optim.epochs}",
            got=done, hint=f"Resume with --epochs {done} or more",
        )  # fmt: skip
    before, finished = _was_judged_on(checkpoint, folder), _is_finished(checkpoint, config)
    return _compare(folder, config, before, module.judged_on, hint, finished=finished)


def judged_on(config: TrainConfig, data: Mapping[str, Any]) -> dict[str, Any]:
    """What scores of validations depend on, beside the weights.

    Args:
        data: what identifies them, as :func:`heightpose.train.record.describe_data` gives it.
    """
    # A detector is not judged on pictures of those people.
    others = sorted(config.data.not_infants) if config.task == "detector" else []
    return {
        "data": data.get("hash"),
        "validation.decode": config.validation.decode,
        "data.not_infants": others,
        "validation.leave_out": sorted(config.validation.leave_out),
    }


def _was_judged_on(checkpoint: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Of the scores in the checkpoint. The run's own files tell of the latest resume, which may have been killed before
    it judged anything."""
    if checkpoint["heightpose"].get("judged_on"):
        return dict(checkpoint["heightpose"]["judged_on"])
    data = read_identity(folder / RUN).get("data") or {}  # checkpoints that were written before they said it
    try:
        return judged_on(TrainConfig.load(folder / CONFIG), data)
    except ConfigError:
        return {"data": data.get("hash")}


def _epochs_done(checkpoint: Mapping[str, Any]) -> int:
    """As Lightning counts them when it goes on; it would refuse too, but late and in other words."""
    try:
        return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except (KeyError, TypeError, ValueError):
        return int(checkpoint["epoch"])


def _is_finished(checkpoint: Mapping[str, Any], config: TrainConfig) -> bool:
    """Whether neither epochs nor minutes are left."""
    limit = config.optim.max_minutes
    timed_out = limit is not None and float(checkpoint["heightpose"].get("elapsed_s", 0.0)) >= 60.0 * limit
    return timed_out or _epochs_done(checkpoint) >= config.optim.epochs


def _read(path: Path) -> dict[str, Any]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling damaged bytes can raise anything
        raise FileFormatError(
            "the checkpoint cannot be read", where=path, got=type(error).__name__,
            hint="It is damaged: start anew in another --out from best.safetensors, with --start-from",
        ) from error  # fmt: skip
    whole = isinstance(checkpoint, dict) and all(part in checkpoint for part in _PARTS)
    if not whole or not all(isinstance(checkpoint[part], dict) for part in ("heightpose", "state_dict")):
        raise FileFormatError(
            "not the checkpoint of a training", where=path, expected=f"{LAST} as 'heightpose train' writes it"
        )
    return checkpoint


def _compare(
    folder: Path, config: TrainConfig, before: Mapping[str, Any], now_on: Mapping[str, Any], hint: str, *,
    finished: bool,
) -> bool:  # fmt: skip
    """What else is not as it was: an error where the optimizer cannot go on, else a warning.

    Args:
        before: what the scores so far depend on, as far as it is known; ``now_on``: those to come.
        finished: whether nothing is left to train: no validation follows, and what was found with other data or
            another decoder would stand beside the new ones' names.

    Returns:
        Whether weights are still validated on the same pictures in the same way.
    """
    changed: dict[str, str] = {}
    if (folder / CONFIG).is_file():
        try:
            so_far = _flat(TrainConfig.load(folder / CONFIG).to_dict())
        except ConfigError as error:  # of another version, say
            log.warning("the settings so far cannot be compared: %s", error)
            so_far = {}
        now = _flat(config.to_dict())
        changed = {
            name: _told(name, so_far[name], now[name])
            for name in so_far
            if name in now and so_far[name] != now[name]
        }
        binding = [text for name, text in changed.items() if name in _BINDING]
        if binding:
            raise ConfigError(
                "the run cannot go on with other settings of these",
                where=folder,
                got=", ".join(binding),
                hint=hint,
            )
        others = [text for name, text in changed.items() if _is_told(name)]
        if others:
            log.warning("goes on with other settings: %s", ", ".join(others))
    other = [name for name, was in before.items() if was is not None and was != now_on[name]]
    if finished and other:
        raise ConfigError(
            "the run has nothing left to train, and its figures are not of these data and settings", where=folder,
            got=", ".join(_told(name, before[name], now_on[name]) for name in other),
            hint="Resume with more epochs or minutes, or start another --out with --start-from its best.safetensors",
        )  # fmt: skip
    if "data" in other:
        log.warning("goes on with other data than the run began with")
    if other:
        log.warning("scores so far do not compare with those to come: the best weights are chosen anew")
    return not other


def _told(name: str, was: Any, now: Any) -> str:
    return "other data" if name == "data" else f"{name} {was!r} -> {now!r}"


def _is_told(name: str) -> bool:
    return name not in _FREE and (name in _TOLD_OF_GROUPS or not name.startswith(_FREE_GROUPS))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under names such as ``optim.lr``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and not prefix:
            flat |= _flat(value, f"{name}.")
        else:
            flat[prefix + name] = value
    return flat
