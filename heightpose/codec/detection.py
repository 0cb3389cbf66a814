"""Infant boxes with a head direction <-> the detector's map, encode and decode beside each other.

The map is ``(7, 32, 32)`` for a 256x256 letterboxed picture, one cell per 8x8 px:

    0     presence of an infant whose box is centred in this cell, 0..1
    1..4  distances from the cell's centre to the box's left, top, right and bottom side, in units of 64 px
    5, 6  sine and cosine of head_angle_deg, of any length

It follows CenterNet (Zhou et al., "Objects as Points", 2019) and FCOS (Tian et al., ICCV 2019). Where exactly a centre
lies is known to a cell or so, and a sure infant's presence may be shared out among neighbours: a score is a cell's own
presence or what it and its neighbours come to, whichever is more.
Spaces: ``*_in`` network-input px of the letterboxed picture; an integer coordinate is a pixel's centre.
"""

from __future__ import annotations

import cv2
import numpy as np

from heightpose.types import require_finite, require_shape

INPUT_WH = (256, 256)
STRIDE = 8
MAP_WH = (INPUT_WH[0] // STRIDE, INPUT_WH[1] // STRIDE)
CHANNELS = 7
#: Unit of the side distances, px: keeps the targets near 1.
DISTANCE_PX = 64.0
#: A score from which the detector alone, asked as in training's validation, sees an infant: of 669 held-out nursery
#: infants the shipped one finds 97.2 % (IoU 0.5) at 0.55, 97.9 % at 0.3 and 95.5 % at 0.65; in 130 empty cots it sees
#: one in 2, 9 and 1. In inference the pose net has a say too (heightpose/runtime/presence.py).
THRESHOLD = 0.55

#: A score, and a length of the direction's vector, from which an infant is plain to see. The net is taught sine and
#: cosine of unit length and answers with a shorter vector where it cannot tell the head's end from the feet's.
SURE, SURE_DIRECTION = 0.7, 0.5

#: Spread of the centre's Gaussian as a share of the box's side, and its lower bound in cells.
_SPREAD, _MIN_SIGMA = 0.06, 0.8
#: Cells whose Gaussian exceeds this also learn box and direction, so that a peak one cell off still knows both.
_REGRESSION_FLOOR = 0.3
#: Standard deviation of the Gaussian that smooths presence, cells, and what it makes of the smallest blob of a target,
#: which scores 1. A net that answers with single sharp cells, as one that knows its pictures by heart, would score 0.4
#: at most by that alone: its own presence counts as well.
_SMOOTH = 1.0
_FULL = _MIN_SIGMA**2 / (_MIN_SIGMA**2 + _SMOOTH**2)
#: Two boxes that overlap more than this are one infant.
NMS_IOU = 0.5


def cell_centres() -> tuple[np.ndarray, np.ndarray]:
    """x ``(32,)`` and y ``(32,)`` of the cells' centres, input px: ``(i + 0.5) * 8 - 0.5``."""
    return tuple((np.arange(n) + 0.5) * STRIDE - 0.5 for n in MAP_WH)  # type: ignore[return-value]


def encode_targets(
    boxes_xyxy_in: np.ndarray, angles_deg: np.ndarray, infant: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What the detector should answer for one picture.

    Args:
        boxes_xyxy_in: ``(M, 4)`` input px; M = 0 for an empty cot.
        angles_deg: ``(M,)`` head directions: 0 up, positive clockwise.
        infant: ``(M,)`` bool; False for people of whom box and direction are to be told, and presence is left open
            anywhere in their box. All are infants by default.

    Returns:
        centre ``(32, 32)``: 1 in the cell that holds an infant's centre, a Gaussian around it (for the
        penalty-reduced focal loss); regression ``(6, 32, 32)``: channels 1..6 of the map; weight ``(32,
        32)``: 0 where the regression is not supervised, up to 1 at a centre; known ``(32, 32)``: 0 where presence is
        not supervised, else 1. All float32.

    Raises:
        ValueError: boxes that are empty, not finite or not ``(M, 4)``, or an angle per box missing.
    """
    boxes = np.asarray(boxes_xyxy_in, dtype=np.float64).reshape(-1, 4)
    angles = np.deg2rad(np.asarray(angles_deg, dtype=np.float64).reshape(-1))
    infants = np.ones(len(boxes), dtype=bool) if infant is None else np.asarray(infant, dtype=bool)
    require_shape("angles_deg", angles, (len(boxes),))
    require_shape("infant", infants, (len(boxes),))
    require_finite("boxes_xyxy_in", boxes)
    require_finite("angles_deg", angles)
    if not (boxes[:, :2] < boxes[:, 2:]).all():
        raise ValueError("boxes_xyxy_in: expected x0 < x1 and y0 < y1 in every box")
    x, y = cell_centres()
    centre, nearness = (np.zeros(MAP_WH[::-1], dtype=np.float32) for _ in range(2))
    known = np.ones(MAP_WH[::-1], dtype=np.float32)
    regression = np.zeros((6, *MAP_WH[::-1]), dtype=np.float32)
    for box, angle, is_infant in zip(boxes, angles, infants, strict=True):
        if not is_infant:
            inside = ((y > box[1]) & (y < box[3]))[:, None] & ((x > box[0]) & (x < box[2]))[None, :]
            known[inside] = 0.0
        middle, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        if not ((middle > -0.5) & (middle < np.array(INPUT_WH) - 0.5)).all():
            continue  # no cell holds its centre
        cell = np.floor((middle + 0.5) / STRIDE)
        sigma = np.maximum(_SPREAD * size / STRIDE, _MIN_SIGMA)
        gx, gy = (
            np.exp(-0.5 * ((np.arange(n) - c) / s) ** 2) for n, c, s in zip(MAP_WH, cell, sigma, strict=True)
        )
        blob = (gy[:, None] * gx[None, :]).astype(np.float32)
        # Where infants lie close together a cell belongs to the one whose centre it is nearer.
        mine = blob > nearness
        values = [
            x[None, :] - box[0], y[:, None] - box[1], box[2] - x[None, :], box[3] - y[:, None],
        ]  # fmt: skip
        for channel, value in enumerate(values):
            regression[channel][mine] = np.broadcast_to(value / DISTANCE_PX, mine.shape)[mine]
        regression[4][mine], regression[5][mine] = np.sin(angle), np.cos(angle)
        nearness = np.maximum(nearness, blob)
        if is_infant:
            centre = np.maximum(centre, blob)
    known[centre >= 1.0] = 1.0  # an infant in a grown-up's arms is one
    # A cell outside its box has a negative distance, which the network cannot say.
    weight = np.where((nearness > _REGRESSION_FLOOR) & (regression[:4] > 0).all(axis=0), nearness, 0.0)
    regression[:, weight == 0] = 0.0
    return {
        "centre": centre, "regression": regression, "weight": weight.astype(np.float32), "known": known,
    }  # fmt: skip


def merge_mirror(maps: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """The maps of N pictures, averaged with those of the same pictures mirrored left to right.

    Presence is the mean; distances and directions (as unit vectors: no view is better informed for answering with a
    longer one) are weighted by each view's presence.

    Args:
        maps, mirrored: ``(N, 7, 32, 32)`` float, finite.

    Returns:
        ``(N, 7, 32, 32)`` float32 of the pictures as they are.
    """
    require_shape("mirrored", mirrored, maps.shape)
    back = mirrored[:, [0, 3, 2, 1, 4, 5, 6], :, ::-1].astype(np.float32)  # left and right change places
    back[:, 5] *= -1.0  # and so do clockwise and anticlockwise
    views = np.stack([np.asarray(maps, dtype=np.float32), back])
    views[:, :, 5:] /= np.maximum(np.hypot(views[:, :, 5:6], views[:, :, 6:]), 1e-6)
    presence = views[:, :, :1]
    share = np.maximum(presence, 1e-6) / np.maximum(presence, 1e-6).sum(axis=0)
    return np.concatenate([presence.mean(axis=0), (share * views[:, :, 1:]).sum(axis=0)], axis=1)


def decode(detection_map: np.ndarray, threshold: float) -> list[tuple[np.ndarray, float, float]]:
    """The infants in one picture, best first.

    A score is a cell's presence, or presence smoothed with a Gaussian of :data:`_SMOOTH` cells (1 for the smallest blob
    of a target) where that is more. Peaks are cells whose score is the highest of their 3x3 neighbourhood and at least
    ``threshold``. Box and direction are the mean over that neighbourhood, weighted by presence; of boxes that overlap
    by more than half (intersection over union) the best one stays.

    Args:
        detection_map: ``(7, 32, 32)`` float, finite; the module's docstring gives the channels.
        threshold: lowest score to report, 0..1.

    Returns:
        (bbox_xyxy_in ``(4,)`` float64 px, head_angle_deg in (-180, 180], score 0..1) per infant.
    """
    return decode_and_judge(detection_map, threshold)[0]


def decode_and_judge(
    detection_map: np.ndarray, threshold: float
) -> tuple[list[tuple[np.ndarray, float, float]], bool]:
    """What :func:`decode` tells, and whether a picture needs no second look: somebody is found, and all who are found
    are plain to see, direction too (:data:`SURE`, :data:`SURE_DIRECTION`)."""
    m = np.asarray(detection_map, dtype=np.float32)
    require_shape("detection_map", m, (CHANNELS, *MAP_WH[::-1]))
    require_finite("detection_map", m)
    shared = cv2.GaussianBlur(m[0], (0, 0), _SMOOTH, borderType=cv2.BORDER_CONSTANT) / np.float32(_FULL)
    score = np.maximum(m[0], shared)
    highest = cv2.dilate(score, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    rows, cols = np.nonzero((score >= highest) & (score >= threshold) & (score > 0.0))
    order = np.argsort(-score[rows, cols], kind="stable")
    rows, cols = rows[order], cols[order]
    boxes, angles, lengths = _read_cells(m, rows, cols)
    left = np.nonzero((boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3]))[0]
    kept: list[int] = []
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][_ious(boxes[left[1:]], boxes[left[0]]) <= NMS_IOU]
    found = [(boxes[i], float(angles[i]), min(float(score[rows[i], cols[i]]), 1.0)) for i in kept]
    sure = all(one >= SURE for _, _, one in found) and bool((lengths[kept] >= SURE_DIRECTION).all())
    return found, bool(found) and sure


def _read_cells(
    m: np.ndarray, rows: np.ndarray, cols: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes ``(N, 4)``, head directions ``(N,)`` and the lengths of their vectors at the N peaks in (rows, cols), each
    from its 3x3 neighbourhood."""
    around = np.arange(9)
    at_rows, at_cols = rows[:, None] + around // 3 - 1, cols[:, None] + around % 3 - 1
    height, width = m.shape[1:]
    inside = (at_rows >= 0) & (at_rows < height) & (at_cols >= 0) & (at_cols < width)
    at_rows, at_cols = at_rows.clip(0, height - 1), at_cols.clip(0, width - 1)
    x, y = cell_centres()
    cx, cy = x[at_cols], y[at_rows]
    part = m[:, at_rows, at_cols].astype(np.float64)
    # Neighbours well below the best were never trained to know the box.
    presence = np.where(inside, part[0], -np.inf)
    weight = np.where(presence >= 0.5 * presence.max(axis=1, keepdims=True), part[0], 0.0)
    total = weight.sum(axis=1)
    left, top, right, bottom = part[1:5] * DISTANCE_PX
    sides = np.stack([cx - left, cy - top, cx + right, cy + bottom])
    boxes = (sides * weight).sum(axis=2) / total
    # Unit vectors first: a cell is no better informed for answering with a longer one.
    length = np.maximum(np.hypot(part[5], part[6]), 1e-6)
    sine, cosine = ((part[c] / length * weight).sum(axis=1) for c in (5, 6))
    angles = np.rad2deg(np.arctan2(sine, cosine))
    mean_lengths = np.hypot(*((part[c] * weight).sum(axis=1) for c in (5, 6))) / total
    return boxes.T, np.where(angles == -180.0, 180.0, angles), mean_lengths


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes ``(4,)`` xyxy."""
    return float(_ious(a[None], b)[0])


def _ious(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """:func:`iou` of each of the boxes ``(N, 4)`` with one ``(4,)``."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    overlap = np.maximum(sides, 0.0).prod(axis=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - overlap
    return np.divide(overlap, union, out=np.zeros(len(boxes)), where=union > 0)
