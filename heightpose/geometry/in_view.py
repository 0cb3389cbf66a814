"""Which frames show the whole infant: a joint that the picture's edge cuts off is put beside that edge by the pose net.

The length then comes out short. Of 135 rendered clips that were cut through head or feet, 37 were measured, up to
2.9 cm short, when joints only had to lie in the picture. They must lie some way inside, and so must those of the frames
around: with the first alone 7 were still measured, up to 3.4 cm short, from the frames that a misread crown had moved
inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heightpose.skeleton import INFANT
from heightpose.types import FrameResult, Pose

#: How far inside height joints must lie, in distances from crown to pelvis: some 2 cm.
_BORDER = 0.05
#: In how many of the frames around they must. These: both ways so many seconds, and so many frames at least.
_LEAST_AROUND, _AROUND_S, _AROUND_FRAMES = 0.75, 2.0, 8
#: A crown that is less likely seen is covered: heatmaps alone have doubts down to a half where nothing lies over it,
#: less is what :mod:`heightpose.runtime.cover` says, which learned where one crown in four is covered: rarer in life.
_BARE = 0.3


def wholly_in_view(
    seen: Sequence[FrameResult], size_wh: tuple[int, int], shown_xyxy: Sequence[float] | None = None
) -> list[FrameResult]:
    """The frames that show the infant whole, among such that do.

    Args:
        seen: frames with a pose, in order of time; size_wh: of the frames, px.
        shown_xyxy: outer edges of the part of the frames that shows anything, px; None: all of it.
    """
    edges = (-0.5, -0.5, size_wh[0] - 0.5, size_wh[1] - 0.5) if shown_xyxy is None else shown_xyxy
    return _among_such(seen, [f.pose is not None and _inside(f.pose, np.array(edges)) for f in seen])


def bare_headed(seen: Sequence[FrameResult]) -> list[FrameResult]:
    """The frames in which nothing lies over the crown, among such; all where the poses do not tell.

    Args:
        seen: frames with a pose, in order of time.
    """
    return _among_such(seen, [f.pose is not None and not _crown_covered(f.pose) for f in seen])


def _among_such(seen: Sequence[FrameResult], such: Sequence[bool]) -> list[FrameResult]:
    """The frames of which something is true, where it is of most frames around (:data:`_LEAST_AROUND`)."""
    if not seen:
        return []
    whole = np.array(such)
    t_s, number = np.array([f.t_s for f in seen]), np.arange(len(seen))
    first = np.minimum(np.searchsorted(t_s, t_s - _AROUND_S), np.maximum(number - _AROUND_FRAMES, 0))
    beyond = np.maximum(np.searchsorted(t_s, t_s + _AROUND_S, "right"), number + _AROUND_FRAMES + 1)
    beyond = np.minimum(beyond, len(seen))
    before = np.concatenate([[0], np.cumsum(whole)])
    around = (before[beyond] - before[first]) / (beyond - first)
    chosen = whole & (around >= _LEAST_AROUND)
    return [frame for frame, keep in zip(seen, chosen, strict=True) if keep]


def seen_of(pose: Pose) -> np.ndarray | None:
    """``(K,)`` probability that a joint is seen: by the heatmaps, and where a thing over it is probable by that."""
    if pose.seen is None or pose.covered is None:
        return pose.seen
    return np.where(pose.covered > 1.0 - _BARE, np.minimum(pose.seen, 1.0 - pose.covered), pose.seen)


def _crown_covered(pose: Pose) -> bool:
    seen = seen_of(pose)
    return seen is not None and bool(seen[INFANT.index("crown")] < _BARE)


def _inside(pose: Pose, edges_xyxy: np.ndarray) -> bool:
    crown, pelvis = pose.kpts_frame[list(INFANT.indices("crown", "pelvis"))]
    margin = _BORDER * float(np.linalg.norm(crown - pelvis))
    kpts = pose.kpts_frame[list(INFANT.height_joints)]
    low, high = edges_xyxy[:2] + margin, edges_xyxy[2:] - margin
    return bool((kpts >= low).all() and (kpts <= high).all())
