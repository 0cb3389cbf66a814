"""Whether an infant is where the detector points: its score and how clearly the pose net sees joints there, together.

An adult's arm or a toy can look like an infant to the detector, but the pose net finds no skeleton in it; an infant
whom the detector doubts may have one that is plain to see. Either number alone tells less than their mean.
"""

from __future__ import annotations

import numpy as np

from heightpose.codec.detection import NMS_IOU, SURE, SURE_DIRECTION, iou
from heightpose.runtime.networks import Detector
from heightpose.types import Detection, Pose

#: A detector's score from which the pose net is asked.
CANDIDATE = 0.3
#: The detector's share in the evidence. At as many false alarms a smaller one loses infants whose joints are hard to
#: see, as those of many photographs; a larger one takes toys and arms for infants.
_DETECTOR_SHARE = 0.7
#: Evidence from which there is an infant. Chosen on 648 empty cots, most of them with an adult's arm in three of ten:
#: seven are taken for an infant (from 0.5 on thirteen). Of 684 held-out nursery infants 677 are found (678). Of 240
#: other such cots two are taken for one (four).
PRESENT = 0.52


def settings(detector: Detector) -> dict[str, float]:
    """What decides here whether an infant is there, to be written beside results."""
    return {
        "detect_threshold": detector.threshold, "detect_sure": SURE,
        "detect_sure_direction": SURE_DIRECTION, "candidate": CANDIDATE,
        "detector_share": _DETECTOR_SHARE, "present": PRESENT,
    }  # fmt: skip


def evidence(pose: Pose) -> float:
    """Weighted mean, 0..1, of the detector's score and of the mean peak of all joints' heatmaps."""
    peaks = float(np.clip(pose.scores, 0.0, 1.0).mean())
    return _DETECTOR_SHARE * pose.detection.score + (1.0 - _DETECTOR_SHARE) * peaks


def is_there(pose: Pose) -> bool:
    """Whether this skeleton is an infant's."""
    return evidence(pose) >= PRESENT


def weighed(poses: list[Pose]) -> list[Detection]:
    """The infants of one picture as detections, best first: the boxes and directions that their joints ask for, the
    evidence as score. Where two skeletons are of one infant the better one stays."""
    kept: list[Detection] = []
    for pose in sorted(poses, key=evidence, reverse=True):
        box = pose.bbox_xyxy
        if all(iou(box, one.bbox_xyxy) <= NMS_IOU for one in kept):
            kept.append(Detection(box, pose.detection.head_angle_deg, evidence(pose)))
    return kept
