"""Labelled pictures as values: infants, the picture they lie in, and which way their heads point."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from heightpose.skeleton import INFANT, Skeleton
from heightpose.types import direction_deg


@dataclass(frozen=True, eq=False)
class Person:
    """One labelled infant.

    Attributes:
        kpts_frame: ``(K, 2)`` px; 0 where a joint is not labelled.
        visibility: ``(K,)`` int: 2 seen, 1 labelled but hidden, 0 not labelled.
        out_of_frame: ``(K,)`` bool.
        bbox_xyxy: ``(4,)`` px.
        child: whom the picture shows; None where the set does not say.
        head_box_xyxy: ``(4,)`` px, the annotated head box that MPII's head size comes from; None without one.
        is_infant: False teaches a detector box and head direction, and leaves open whether there is an infant.
    """

    kpts_frame: np.ndarray
    visibility: np.ndarray
    out_of_frame: np.ndarray
    bbox_xyxy: np.ndarray
    child: str | None = None
    strata: dict[str, str] = field(default_factory=dict)
    id: int = 0
    head_box_xyxy: np.ndarray | None = None
    is_infant: bool = True

    @property
    def usable(self) -> np.ndarray:
        """``(K,)`` bool: labelled and inside the frame."""
        return (self.visibility > 0) & ~self.out_of_frame


@dataclass(frozen=True, eq=False)
class Item:
    """One picture or video frame with the infants labelled in it; none of them means an empty cot.

    Attributes:
        path: the picture, or the video when ``frame`` is not None.
        name: the file's name and the frame, for messages; :meth:`place_in` tells those of one name apart.
        infants_in_view: how many infants there are, labelled or not; None where the set does not say.
        repeat: how often training draws it per epoch; 0.25: in every fourth epoch on average.
        strata: of the picture as a whole, which an empty cot has too; those of an infant are its own.
        recording: the video that a picture was taken from, by any name; None where the set does not say.
        recording_sha256: of that video's file, by which its frames are known to be held out; None likewise.
    """

    id: int
    path: Path
    frame: int | None
    size_wh: tuple[int, int]
    split: str | None
    people: tuple[Person, ...]
    infants_in_view: int | None = None
    repeat: float = 1.0
    strata: dict[str, str] = field(default_factory=dict)
    recording: str | None = None
    recording_sha256: str | None = None

    @property
    def name(self) -> str:
        return self.path.name if self.frame is None else f"{self.path.name} frame {self.frame}"

    @property
    def has_unlabelled(self) -> bool:
        """Whether infants are known to be in view that nobody labelled."""
        return (self.infants_in_view or 0) > len(self.people)

    @property
    def series(self) -> str | None:
        """The recording or video that it is one picture of; None of a picture that stands alone."""
        return self.recording or (None if self.frame is None else str(self.path))

    def place_in(self, folder: Path) -> str:
        """What it is known by in its set: the way to it from the set's folder, and the frame."""
        return frame_key(relative_path(self.path, folder), self.frame)

    def with_joints(self, indices: np.ndarray) -> Item:
        """The same picture with only those joints of its people, in that order."""
        people = tuple(
            replace(
                p,
                kpts_frame=p.kpts_frame[indices],
                visibility=p.visibility[indices],
                out_of_frame=p.out_of_frame[indices],
            )
            for p in self.people
        )
        return replace(self, people=people)


def relative_path(path: Path, folder: Path) -> str:
    """The way from a set's folder to a file in it or outside of it, links as they are named, with forward slashes."""
    if path.is_relative_to(folder):
        return Path(os.path.normpath(path.relative_to(folder))).as_posix()
    return Path(os.path.relpath(os.path.abspath(path), os.path.realpath(folder))).as_posix()


def frame_key(file: str, frame: int | None) -> str:
    """What a picture (``frame`` None) or a video's frame is known by: ``images/7.png``, ``clips/one.mp4#7``."""
    return file if frame is None else f"{file}#{frame}"


def head_angle_deg(kpts: np.ndarray, labelled: np.ndarray, skeleton: Skeleton = INFANT) -> float | None:
    """Image direction from pelvis to crown: 0 up, positive clockwise, in (-180, 180].

    Where one of the two is not labelled its nearest stand-in is used (head top, neck, thorax, mid-shoulders;
    mid-hips, thorax); None when not even those say which way the body lies.

    Args:
        kpts: ``(K, 2)`` px of any space.
        labelled: ``(K,)`` bool.
    """
    kpts, labelled = np.asarray(kpts, dtype=np.float64), np.asarray(labelled, dtype=bool)

    def first(choices: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], np.ndarray] | None:
        for names in choices:
            if all(n in skeleton.names for n in names) and labelled[skeleton.indices(*names)].all():
                return names, kpts[skeleton.indices(*names)].mean(axis=0)
        return None

    shoulders, hips = ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")
    top = first((("crown",), ("head_top",), ("upper_neck",), ("thorax",), shoulders))
    bottom = first((("pelvis",), hips, ("thorax",), shoulders))
    if top is None or bottom is None or top[0] == bottom[0]:
        return None
    dx, dy = top[1] - bottom[1]
    if np.hypot(dx, dy) < 1e-6:
        return None
    return direction_deg(dx, dy)


def way_up(kpts: np.ndarray, labelled: np.ndarray) -> str | None:
    """Which way up a picture shows a person: ``upright`` (head within 45 degrees of up), ``sideways``, ``upside_down``.

    Args:
        kpts: ``(K, 2)`` px of the picture.
        labelled: ``(K,)`` bool.

    Returns:
        None when the labelled joints do not say which way the body lies (:func:`head_angle_deg`).
    """
    angle = head_angle_deg(kpts, labelled)
    if angle is None:
        return None
    return "upright" if abs(angle) < 45 else "sideways" if abs(angle) < 135 else "upside_down"
