"""From frame to frame: the detector looks now and then, in between the last skeleton says where the infant is.

A key frame is seen by the detector and twice by the pose net (:mod:`heightpose.runtime.refine`). The frames after it,
for a sixth of a second, are cropped as the key frame's joints ask for, which is the crop that a second look would use;
so one look is enough. Each such look is checked: where the skeleton is unsure the detector is asked again, where it is
sure but has moved it is looked at once more on its own crop. A frame's crop depends on its key frame only, never on
how frames were grouped for the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heightpose.codec.detection import iou
from heightpose.geometry.body import surety
from heightpose.runtime.clip import Frame
from heightpose.runtime.refine import UNSURE, detection_around
from heightpose.types import Detection, Pose, wrap_degrees

#: A key frame at least every so many frames and seconds. Limbs move in a fifth of a second: on clips of five frames a
#: second, guided looks found 73.0 % of the height joints within 0.1 head sizes where two looks each found 74.8 %.
KEY_FRAMES, KEY_S = 8, 0.17
#: The crop still fits while its box overlaps the one that the joints now ask for by so much and is turned by at most
#: so much; crops have a margin of a quarter around the box.
_FITS_IOU, _FITS_DEG = 0.85, 10.0
#: A skeleton that is less sure than its key frame's by more than this is lost.
_DROP = 0.1


class KeyFrames:
    """Says of each frame in turn whether it is a key frame: by number and by time, whichever comes first."""

    def __init__(self) -> None:
        self._since, self._count = -np.inf, 0

    def is_key(self, frame: Frame) -> bool:
        """To be asked once per frame."""
        self._count += 1
        if self._count >= KEY_FRAMES or not 0 <= frame.t_s - self._since <= KEY_S:
            self._since, self._count = frame.t_s, 0
            return True
        return False


@dataclass(frozen=True, eq=False)
class Guide:
    """Where to look in the frames after a key frame.

    Attributes:
        detection: the crop that the key frame's joints ask for.
        surety: how sure the key frame's skeleton is.
        infants: how many infants the detector saw there.
    """

    detection: Detection
    surety: float
    infants: int

    @classmethod
    def after(cls, pose: Pose | None, infants: int) -> Guide | None:
        """The guide that a key frame gives; None where no infant was found or its skeleton is unsure."""
        if pose is None or surety(pose) < UNSURE:
            return None
        return cls(detection_around(pose), surety(pose), infants)

    def lost(self, pose: Pose) -> bool:
        """Whether the skeleton found with this guide is too unsure to be believed."""
        return surety(pose) < max(UNSURE, self.surety - _DROP)

    def fits(self, pose: Pose) -> bool:
        """Whether the joints found lie where, and as, the guide's crop was made for."""
        now = detection_around(pose)
        turned = abs(wrap_degrees(now.head_angle_deg - self.detection.head_angle_deg))
        return float(iou(now.bbox_xyxy, self.detection.bbox_xyxy)) >= _FITS_IOU and turned <= _FITS_DEG


def guides_of(
    keys: Sequence[bool], guides: Sequence[Guide | None], before: Guide | None
) -> list[Guide | None]:
    """Each frame's guide: that of the latest key frame up to it.

    Args:
        keys: whether each frame of the group is a key frame.
        guides: what each key frame gave, in order.
        before: the guide of the last key frame of earlier groups.
    """
    given, out, now = iter(guides), [], before
    for key in keys:
        now = next(given) if key else now
        out.append(now)
    return out
