"""Short trainings of tiny nets, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

from tinynet import TinyNet, settings

LR = 1e-2


def small(width=24):
    return TinyNet(width=width)


def config_of(folder, **optim):
    optim = {"epochs": 16, "batch_size": 8, "lr": LR, "val_every_epochs": 8, "ema_decay": 0.9} | optim
    config = settings(folder, **optim)
    return replace(config, pose=replace(config.pose, input_wh=(64, 64)))
