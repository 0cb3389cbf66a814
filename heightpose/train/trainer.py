"""What a run computes with: the process, the precision, and Lightning's trainer on the devices asked for."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import lightning
import torch

from heightpose.config import TrainConfig
from heightpose.train.callbacks import Journal, Keeper, Stopper


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
    torch.set_flush_denormal(True)  # fading weights would otherwise slow the processor manyfold
    torch.set_float32_matmul_precision("high")
    cv2.setNumThreads(1)  # the batches' own threads do the work


def make_trainer(
    config: TrainConfig, out: Path, precision: str, keeper: Keeper, stopper: Stopper
) -> lightning.Trainer:
    """Lightning's trainer, which writes nothing but what the callbacks write into ``out``."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    devices = config.hardware.devices
    return lightning.Trainer(
        default_root_dir=out,
        accelerator=config.hardware.accelerator,
        devices=int(devices) if devices.isdigit() else devices,
        precision=precision,  # type: ignore[arg-type]
        max_epochs=config.optim.epochs,
        min_epochs=0,  # so that the clock may stop in the first epoch
        gradient_clip_val=config.optim.clip_norm if config.optim.clip_norm > 0 else None,
        check_val_every_n_epoch=config.optim.val_every_epochs,
        num_sanity_val_steps=0,
        # Crops have one size: the fastest convolutions are looked for once.
        benchmark=config.hardware.accelerator != "cpu" and torch.cuda.is_available(),
        logger=False,
        # In this order: a row is written before the checkpoint that goes on after it.
        callbacks=[Journal(out), keeper, stopper],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # Batches shard themselves
    )


def device_name(trainer: lightning.Trainer) -> str:
    """How many devices of which kind the trainer uses, for people."""
    name = type(trainer.accelerator).__name__.removesuffix("Accelerator")
    return f"{trainer.num_devices} x {name}"
