"""What a clip shows of the legs, and how much less sure a length is for what it does not show.

A hidden leg's heatmap is as sharp as a seen one's, and legs under blankets made most of the errors beyond 4 cm. The
elevation model is told how likely each joint is right and seen, which tells most of that; the rest is a factor on its
standard deviations. How factors and limits were chosen: docs/measurement.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heightpose.geometry.in_view import seen_of
from heightpose.geometry.legs import EXTENDED_DEG, legs_extended
from heightpose.geometry.lift import LiftedFrames
from heightpose.skeleton import INFANT
from heightpose.types import FrameResult

#: What the elevation model's standard deviations are multiplied by: where a part of the legs is hidden on both sides;
#: where no leg is seen unbent; and where the pose net's weights have no calibration. The first two are fitted on 310
#: clips of 352x264 px and 215 stills of held-out nursery children in all postures, each a child of its own, and judged
#: on 400 other clips; the second was widened since, on those; the last is older, and on the wide side.
_UNSEEN_TIMES, _TUCKED_TIMES, _UNCALIBRATED_TIMES = 1.4, 1.3, 2.3
#: Where neither heel is seen with more than this probability (mean over the frames) and the infant does not lie on its
#: back, the foot that ends the length is a guess. Of the ten such of the 310 clips errors are 1.7 times what 1.4 tells
#: (rms), and both errors beyond 4 cm given out were among them; on the back, sleeping bags above all, 1.2 times.
_HEEL_SEEN, _NO_HEEL_TIMES = 0.25, 2.0
#: A bent leg's thigh stands on end where the knee lies higher than the hip by more than this share of it: from above it
#: hardly shows, and lengths that rest on it are less sure than the elevation model says.
_ON_END, _ON_END_TIMES = 0.5, 1.5
#: Fewer frames than this share with a leg unbent: the legs count as tucked.
_TUCKED_SHARE = 0.2
#: Flexion read off a picture errs by some 20 degrees (hips above all), so a leg counts as bent only well beyond 30.
_SURELY_BENT_DEG = 50.0
#: From this mean probability on that a thing lies over both heels the legs are in doubt; where the heatmaps take a heel
#: for seen with that one, they have it at the edge of the thing: cloth and forearms painted over the heels were
#: measured in 25 of 30 clips without the two limits, none of 99 lengths of bare feet is refused for them. Of 110
#: nursery clips with feet so covered errors are 1.1 times what 1.4 tells (rms).
_MOST_FEET_COVERED, _TAKEN_FOR_SEEN, _FEET_COVERED_TIMES = 0.2, 0.58, 1.6
_HEELS = list(INFANT.indices("left_heel", "right_heel"))
#: ``(3, 2)``: both sides of each part of the leg below the hip.
_LEG_PAIRS = np.array([INFANT.indices(f"left_{part}", f"right_{part}") for part in ("knee", "ankle", "heel")])


@dataclass(frozen=True)
class LegsSeen:
    """What the clear frames of a clip show of the legs.

    Attributes:
        hidden: the pose net takes the legs for covered in most frames; never without its calibrated word on it.
        one_hidden: one leg is mostly seen and the other mostly hidden.
        tucked: hardly a frame shows a leg unbent.
        feet_at_edge: a thing lies over both heels, and heatmaps take one for seen: its place is the thing's edge.
        doubt: what the elevation model's standard deviations are multiplied by.
    """

    hidden: bool
    one_hidden: bool
    tucked: bool
    feet_at_edge: bool
    doubt: float

    @classmethod
    def of(cls, frames: Sequence[FrameResult], lifted: LiftedFrames) -> LegsSeen:
        """As ``frames``, all with a pose, and what the elevation model makes of them, tell."""
        seen = _told([seen_of(f.pose) for f in frames if f.pose is not None])
        hidden = seen is not None and float(np.mean(seen[:, _LEG_PAIRS].mean(axis=(1, 2)) < 0.5)) > 0.5
        tucked = share_extended(lifted, _SURELY_BENT_DEG) < _TUCKED_SHARE
        feet_covered = _feet_covered(frames)
        if not any(f.pose is not None and f.pose.probabilities is not None for f in frames):
            doubt = _UNCALIBRATED_TIMES
        elif seen is not None and not _on_back(lifted) and seen[:, _HEELS].mean(axis=0).max() < _HEEL_SEEN:
            doubt = _NO_HEEL_TIMES
        elif feet_covered:
            doubt = _FEET_COVERED_TIMES
        elif tucked and _thighs_on_end(lifted):
            doubt = _ON_END_TIMES
        elif hidden or (seen is not None and _part_hidden(seen)):
            doubt = _UNSEEN_TIMES
        else:
            doubt = _TUCKED_TIMES if tucked else 1.0
        return cls(
            hidden=hidden,
            one_hidden=seen is not None and _one_hidden(seen),
            tucked=tucked,
            feet_at_edge=feet_covered and _a_heel_taken_for_seen(frames),
            doubt=doubt,
        )


def share_extended(lifted: LiftedFrames, limit_deg: float = EXTENDED_DEG) -> float:
    """Of the frames: those in which a leg is flexed by less than that at hip and knee."""
    return float(np.mean([legs_extended(joints, limit_deg) for joints in lifted.joints_cm]))


def _told(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """``(T, K)`` of the frames that tell it; None where none does."""
    told = [array for array in arrays if array is not None]
    return np.stack(told) if told else None


def _on_back(lifted: LiftedFrames) -> bool:
    return float(np.mean(lifted.on_back > 0.5)) >= 0.5


def _part_hidden(seen: np.ndarray) -> bool:
    """Whether a part of the leg is mostly hidden on both sides: its place is a guess, however sharp its heatmap."""
    return bool(seen.mean(axis=0)[_LEG_PAIRS].max(axis=1).min() < 0.5)


def _one_hidden(seen: np.ndarray) -> bool:
    legs = seen.mean(axis=0)[_LEG_PAIRS].mean(axis=0)
    return bool(legs.min() < 0.5 <= legs.max())


def _feet_covered(frames: Sequence[FrameResult]) -> bool:
    """Whether a thing probably lies over both heels; not where nobody looked for it."""
    covered = _told([f.pose.covered for f in frames if f.pose is not None])
    return covered is not None and bool(covered[:, _HEELS].mean(axis=0).min() > _MOST_FEET_COVERED)


def _a_heel_taken_for_seen(frames: Sequence[FrameResult]) -> bool:
    by_heatmap = _told([f.pose.seen for f in frames if f.pose is not None])
    return by_heatmap is not None and bool(by_heatmap[:, _HEELS].mean(axis=0).max() > _TAKEN_FOR_SEEN)


def _thighs_on_end(lifted: LiftedFrames) -> bool:
    """Whether both thighs point up in most frames."""
    joints = lifted.joints_cm
    rises = []
    for side in ("left", "right"):
        thigh = joints[:, INFANT.index(f"{side}_knee")] - joints[:, INFANT.index(f"{side}_hip")]
        rises.append(np.median(thigh[:, 2] / np.maximum(np.linalg.norm(thigh, axis=1), 1e-6)))
    return bool(min(rises) > _ON_END)
