"""A world that is a lying figure: its joints are known, and a pose net that sees those inside the crop it is given."""

from __future__ import annotations

import threading

import numpy as np

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.runtime.backends import Active, Backend
from heightpose.runtime.clip import Frame
from heightpose.runtime.modelfile import ModelFile
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.pipeline import estimate_poses
from heightpose.runtime.tta import Tta
from heightpose.skeleton import INFANT
from heightpose.types import Detection

#: A lying figure, head up: (x, y) about the middle, in units of its length.
FIGURE = {
    "crown": (0, -0.5), "head_top": (0, -0.49), "upper_neck": (0, -0.3), "thorax": (0, -0.22), "pelvis": (0, 0.1),
    "hip": (0.07, 0.1), "knee": (0.09, 0.27), "ankle": (0.08, 0.44), "heel": (0.08, 0.5), "toe": (0.12, 0.48),
    "shoulder": (0.12, -0.2), "elbow": (0.2, -0.08), "wrist": (0.22, 0.05),
}  # fmt: skip


def joints(xy, length, angle_deg):
    """``(21, 2)`` px of a figure with its middle at ``xy``, the head towards ``angle_deg``."""
    own = []
    for name in INFANT.names:
        x, y = FIGURE[name.removeprefix("left_").removeprefix("right_")]
        own.append((-x if name.startswith("right_") else x, y))
    a = np.deg2rad(angle_deg)
    return np.array(xy) + length * np.array(own) @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


class Seeing(Backend):
    """A pose net that knows where the joints of each frame are, and draws them into the crop it is given."""

    active = Active("fake", "CPU", "f32", 1)

    def __init__(self):
        self._path, self.crops = "fake", 0
        self.own = threading.local()  # key frames and the frames between them are looked at by two threads

    def _run(self, batch):
        self.crops += len(batch)
        codec = self.own.codec
        out = np.zeros((len(batch), 21, *codec.heatmap_wh[::-1]), np.float32)
        for n, (index, crop) in enumerate(self.own.now):
            kpts, strength = self.own.world[index]
            inside = crop.to_crop(kpts)
            maps, _ = codec.encode(inside[None], np.ones((1, 21), bool))
            out[n] = (strength(inside) if callable(strength) else strength) * maps[0]
        return out


class World:
    """Frames in which a figure is at known places; detections and looks are counted.

    ``places`` holds (xy, length, angle, strength of the heatmaps) per frame, or None for an empty cot. A strength may
    depend on the joints in the crop's px.
    """

    def __init__(self, places, monkeypatch, step_s=0.02):
        self.frames, self.truth, self.boxes = [], {}, {}
        self.detected, self.looked = [], []
        for i, place in enumerate(places):
            rgb = np.full((8, 8, 3), i, np.uint8)  # its number is all that a frame shows
            self.frames.append(Frame(i, step_s * i, rgb))
            if place is not None:
                kpts = joints(*place[:3])
                self.truth[i] = (kpts, place[3])
                self.boxes[i] = Detection(
                    np.concatenate([kpts.min(axis=0) - 12, kpts.max(axis=0) + 9]), place[2] + 6.0, 0.9
                )
        codec = HeatmapCodec()
        backend = Seeing()
        file = ModelFile("fake", "pose", INFANT.names, (256, 256), (64, 64), 2.0, {})
        self.pose_model = PoseModel(backend, file, codec, INFANT, Tta(flip=False))
        self.detector = Detector(backend, file)
        world = self

        def detect(self, rgbs):
            world.detected += [int(rgb[0, 0, 0]) for rgb in rgbs]
            return [[world.boxes[i]] if i in world.boxes else [] for i in (int(r[0, 0, 0]) for r in rgbs)]

        def look(self, rgbs, crops, *, times=None, plain=PoseModel.look):
            numbers = [int(rgb[0, 0, 0]) for rgb in rgbs]
            world.looked += numbers
            absent = (np.full((21, 2), -1e4), 0.0)
            backend.own.world = {**{i: absent for i in numbers}, **world.truth}
            backend.own.codec = self.codec
            backend.own.now = list(zip(numbers, crops, strict=True))
            return plain(self, rgbs, crops, times=times)

        monkeypatch.setattr(Detector, "detect", detect)
        monkeypatch.setattr(PoseModel, "look", look)

    def run(self, **options):
        self.detected.clear()
        self.looked.clear()
        results = [r for r, _ in estimate_poses(self.frames, self.detector, self.pose_model, **options)]
        self.detected.sort()  # two threads look at a clip
        self.looked.sort()
        return results
