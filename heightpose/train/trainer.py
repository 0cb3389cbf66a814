"""What a run computes with: the process, the precision, and Lightning's trainer on the devices asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from heightpose.config import HardwareConfig, TrainConfig
from heightpose.cores import usable_cores
from heightpose.errors import ConfigError
from heightpose.words import one_line


def resolve_precision(precision: str, accelerator: str = "auto") -> str:
    """Turn "auto" into bf16-mixed where that is fast: GPUs that have it, AMX and AVX512-BF16 processors."""
    if precision != "auto":
        return precision
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    # Elsewhere bf16 is emulated and several times slower than plain single precision.
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("amx_tile", "avx512_bf16"))
    return "bf16-mixed" if any(check is not None and check() for check in checks) else "32-true"


def prepare_process(config: TrainConfig) -> None:
    """Seeds, threads and arithmetic of this process, before anything is built."""
    lightning.seed_everything(config.seed, verbose=False)
    torch.set_num_threads(config.hardware.threads)
    torch.set_float32_matmul_precision("high")
    cv2.setNumThreads(1)  # the batches' own threads do the work


def make_trainer(config: TrainConfig, out: Path, callbacks: Sequence[Callback]) -> lightning.Trainer:
    """Lightning's trainer, which writes nothing but what the callbacks write into ``out``.

    Its ``precision`` is what it computes in, which may be another than was asked for (no 16-mixed on a processor).

    Raises:
        ConfigError: this machine does not have the devices, or they not the precision.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    hardware = config.hardware
    _require_cores(hardware)
    precision = resolve_precision(hardware.precision, hardware.accelerator)
    try:
        return lightning.Trainer(
            default_root_dir=out,
            accelerator=hardware.accelerator,
            devices=int(hardware.devices) if hardware.devices.isdigit() else hardware.devices,
            precision=precision,  # type: ignore[arg-type]
            max_epochs=config.optim.epochs,
            min_epochs=0,  # so that the clock may stop in the first epoch
            gradient_clip_val=config.optim.clip_norm if config.optim.clip_norm > 0 else None,
            check_val_every_n_epoch=config.optim.val_every_epochs,
            num_sanity_val_steps=0,
            # Crops have one size: the fastest convolutions are looked for once.
            benchmark=hardware.accelerator != "cpu" and torch.cuda.is_available(),
            logger=False,
            callbacks=list(callbacks),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,  # Batches shard themselves
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            "cannot compute so on this machine", where="hardware",
            got=f"accelerator {hardware.accelerator}, devices {hardware.devices}, precision {precision}: "
            + one_line(error, 200),
            expected="devices: auto or how many there are", hint="accelerator: auto takes what there is",
        ) from error  # fmt: skip


def _require_cores(hardware: HardwareConfig) -> None:
    """On processors Lightning starts as many processes as it is told to, however many cores there are."""
    cores = usable_cores()
    on_processor = hardware.accelerator == "cpu" or not torch.cuda.is_available()
    if on_processor and hardware.devices.isdigit() and int(hardware.devices) > cores:
        raise ConfigError(
            "cannot compute so on this machine", where="hardware.devices", got=hardware.devices,
            expected=f"at most {cores}, one for each core", hint="devices: auto takes what there is",
        )  # fmt: skip


def device_name(trainer: lightning.Trainer) -> str:
    """How many devices of which kind the trainer uses, for people."""
    name = type(trainer.accelerator).__name__.removesuffix("Accelerator")
    return f"{trainer.num_devices} x {name}"
