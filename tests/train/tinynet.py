"""Runs of a network of a few convolutions, which train in a second."""

from __future__ import annotations

from torch import nn

from heightpose.config import DataConfig, HardwareConfig, OptimConfig, PoseConfig, TrainConfig


class TinyNet(nn.Module):
    """Five convolutions; sees about 30 px around each heatmap pixel."""

    def __init__(self, joints=21, width=48):
        super().__init__()
        layers = [nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, width, 3, 2, 1)]
        for dilation in (1, 2):
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 1, dilation, dilation)]
        self.net = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, joints, 1))

    def forward(self, image):
        return self.net((image - 60.0) / 60.0)


def settings(folder, **optim):
    optim = {"epochs": 4, "batch_size": 3, "warmup_steps": 2} | optim
    return TrainConfig(
        pose=PoseConfig(input_wh=(96, 96), sigma=1.5),
        data=DataConfig(dirs=(str(folder),)),
        optim=OptimConfig(**optim),
        hardware=HardwareConfig(threads=1, accelerator="cpu"),
    )


def weights_of(module, name="ema"):
    return {k: v.clone() for k, v in getattr(module, name).state_dict().items()}
