"""A closer look of the detector: what is small in a wide picture is looked at enlarged, around the surest infant.

The detector sees a whole picture in 256x256 px, where twins who lie side by side in a wide view share a few cells of
its map, and it answers with one box between them. Of 198 held-out nursery twins (seeds 151 to 153, nursery-stills) one
look, without the pose net, finds 91 % (IoU 0.5), a closer one beside it 96 %; of 972 infants alone in their cot 99 %
either way, at IoU 0.75 84 instead of 79 %. As few empty cots hold somebody (3 of 229): nothing scores higher for being
looked at twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from heightpose.codec.detection import NMS_IOU, THRESHOLD, iou
from heightpose.types import Detection

#: Side of the square that is looked at over the longer side of the surest box: a twin beside it is in it.
_AROUND = 1.8
#: The square, within the picture, is looked at where it is smaller than this share of the picture's longer side.
_WORTH_IT = 0.8
#: Sides, px, from which there is something to see in it.
_LEAST_PX = 24
#: Of two looks, boxes of which one holds this share of the other are of one infant, as a body's half is: true twins
#: share 0.5 at most in nineteen of twenty pictures.
_ONE = 0.7
#: Two of one look of which the smaller has no more than this share in the other lie beside each other.
_APART = 0.3


def part_around(rgb: np.ndarray, detection: Detection) -> tuple[np.ndarray, tuple[int, int]] | None:
    """The part of a frame ``(H, W, 3)`` to look at closer and its corner (x, y), frame px; None where that is nearly
    all of it."""
    height, width = rgb.shape[:2]
    box = detection.bbox_xyxy
    centre, half = (box[:2] + box[2:]) / 2, _AROUND * (box[2:] - box[:2]).max() / 2
    x0, y0 = np.maximum(np.floor(centre - half), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(centre + half), (width, height)).astype(int)
    longer = max(x1 - x0, y1 - y0)
    if min(x1 - x0, y1 - y0) < _LEAST_PX or longer >= _WORTH_IT * max(width, height):
        return None
    return np.ascontiguousarray(rgb[y0:y1, x0:x1]), (int(x0), int(y0))


def together(first: Sequence[Detection], closer: Sequence[Detection]) -> list[Detection]:
    """The infants of both looks, frame px, best first; each look's own are given best first.

    Whom both see has the mean of both boxes, the surer one's direction and the first one's score: an object that looks
    like an infant gets no second chance to. Where the first look saw one infant and the closer one two beside each
    other, these are told instead.
    """
    found: list[Detection] = []
    within: dict[int, list[Detection]] = {}
    for one in closer:
        place = _place_of(one, first)
        if place is None:
            found.append(one)
        else:
            within.setdefault(place, []).append(one)
    for place, before in enumerate(first):
        found += _told(before, within.get(place, []))
    return sorted(found, key=lambda one: one.score, reverse=True)


def _place_of(one: Detection, others: Sequence[Detection]) -> int | None:
    """Which of the others is the same infant."""
    overlaps = [iou(one.bbox_xyxy, other.bbox_xyxy) for other in others]
    same = [i for i, other in enumerate(others) if overlaps[i] > NMS_IOU or _held(one, other) > _ONE]
    return max(same, key=overlaps.__getitem__, default=None)


def _told(before: Detection, closer: Sequence[Detection]) -> list[Detection]:
    """Who is where the first look saw an infant, by what the closer look sees there."""
    if not closer:
        return [before]
    best, *rest = closer
    beside = [one for one in rest if one.score >= THRESHOLD and _held(one, best) <= _APART]
    if beside:
        return [best, beside[0]]
    surer = best if best.score > before.score else before
    return [replace(surer, bbox_xyxy=(before.bbox_xyxy + best.bbox_xyxy) / 2, score=before.score)]


def _held(a: Detection, b: Detection) -> float:
    """The share of the smaller box that lies in the other."""
    low, high = np.maximum(a.bbox_xyxy[:2], b.bbox_xyxy[:2]), np.minimum(a.bbox_xyxy[2:], b.bbox_xyxy[2:])
    smaller = min((one.bbox_xyxy[2:] - one.bbox_xyxy[:2]).prod() for one in (a, b))
    return float(np.maximum(high - low, 0.0).prod() / smaller)
