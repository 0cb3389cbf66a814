"""What a model might say of frames that were never looked at, for the tests of suggestions."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))

import drawn
import makers

from heightpose.data.suggest.looks import Look
from heightpose.data.suggest.run import Pool
from heightpose.geometry.crop import crop_from_box
from heightpose.runtime.output import sha256
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Pose

SIZE = (160, 120)


def a_look(
    index=0, *, kpts=None, flip=0.01, turns=0.01, grey=90.0, colour=20.0, mirrored=False, score=0.9, t_s=None
):
    """What a model might say of one frame; ``mirrored`` shows the infant's back."""
    kpts = drawn.infant_kpts((80, 60), 90, 0) if kpts is None else kpts
    kpts = kpts[INFANT.flip_map] if mirrored else kpts
    box = np.concatenate([kpts.min(axis=0) - 3, kpts.max(axis=0) + 3])
    pose = Pose(kpts, np.full(len(INFANT), score), Detection(box, 0.0, 0.9))
    crop = crop_from_box(box, 0.0, (64, 64))
    thumb = np.zeros((8, 8, 3)) + [grey, 128.0 + colour, 128.0]
    result = FrameResult(index, 0.2 * index if t_s is None else t_s, pose, 1)
    return Look(result, flip, turns, crop.to_crop(kpts) / 64.0, thumb)


def lost(index=0):
    thumb = np.zeros((8, 8, 3)) + 128.0
    return Look(
        FrameResult(index, 0.2 * index, None, 0), np.nan, np.nan, np.full((len(INFANT), 2), np.nan), thumb
    )


def moved(look_, joint, by):
    kpts = look_.pose.kpts_frame.copy()
    kpts[INFANT.index(joint)] += by
    return a_look(look_.result.index, kpts=kpts)


def a_pool(folder, frames=8):
    """Two videos: in one the infant lies on its back, in the other on its front and in the dark."""
    pool = Pool()
    rng = np.random.default_rng(0)
    for number, (name, front) in enumerate((("light", False), ("dark", True))):
        kpts = [drawn.infant_kpts((75 + i, 60), 80 + 3 * i, 0, rng) for i in range(frames)]
        pictures = [drawn.draw(SIZE, k, rng) for k in kpts]
        pool.names.append(name)
        pool.children.append(f"child of {name}")
        pool.sources.append(makers.write_video(folder / f"{name}.mp4", pictures, fps=5))
        pool.hashes.append(sha256([pool.sources[-1]]))
        grey = {"colour": 0.0, "grey": 40.0} if front else {}
        clip = [
            a_look(i, kpts=k, flip=rng.uniform(0, 0.2), mirrored=front, **grey) for i, k in enumerate(kpts)
        ]
        pool.clips.append(clip if number == 0 else [*clip[:-1], replace(lost(frames - 1))])
    return pool
