"""The skeleton and the state of the measurement drawn over a frame.

The infant's left is orange, its right blue, the midline white; a joint the network is unsure of is a ring.
The strip at the top says what this frame shows, the strip at the bottom what is known of the length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from heightpose.skeleton import INFANT, Skeleton
from heightpose.types import Detection, FrameResult, Measurement, Pose

LEFT_RGB = (255, 150, 30)
RIGHT_RGB = (40, 160, 255)
MIDLINE_RGB = (255, 255, 255)
_GOOD_RGB = (110, 220, 110)
_DIM_RGB = (205, 205, 205)
_SHADOW_RGB = (20, 20, 20)

#: Joints with a smaller heatmap peak are drawn as rings.
UNSURE_SCORE = 0.3
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Caption:
    """What the strips say about one frame.

    Attributes:
        used: whether this frame informed the length; None where that is not known (yet).
        length: the bottom line, e.g. "68.4 cm (67.6-69.2)", empty for none.
    """

    used: bool | None = None
    length: str = ""


def answer_text(measurement: Measurement) -> str:
    """The answer in one line: ``68.4 cm (67.6-69.2)  41 of 120 frames`` or ``rejected: <why>``."""
    if measurement.reported_cm is None:
        return "rejected: " + " ".join(reason.text for reason in measurement.reasons)
    length, low, high = measurement.reported_cm
    frames = f"{measurement.frames_used} of {measurement.frames_total} frames"
    return f"{length:.1f} cm ({low:.1f}-{high:.1f})  {frames}"


def draw_overlay(
    rgb: np.ndarray,
    result: FrameResult,
    caption: Caption,
    *,
    blur_faces: bool = False,
    skeleton: Skeleton = INFANT,
) -> np.ndarray:
    """A copy of the frame with the skeleton, the frame's state and the length.

    Args:
        rgb: ``(H, W, 3)`` uint8 frame.
        result: what was seen in it.
        caption: texts.
        blur_faces: hide the infant's face and all around it first, see :func:`blur_faces_in` with ``strangers``.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    picture = blur_faces_in(rgb, result, skeleton, strangers=True) if blur_faces else rgb.copy()
    scale = max(min(rgb.shape[:2]) / 480.0, 0.5)
    if result.pose is not None:
        _draw_skeleton(picture, result.pose, scale, skeleton)
    state, colour = _state(result, caption)
    _strip(picture, f"{result.t_s:7.2f} s  {state}", colour, scale, top=True)
    if caption.length:
        _strip(picture, caption.length, MIDLINE_RGB, scale, top=False)
    return picture


def _state(result: FrameResult, caption: Caption) -> tuple[str, tuple[int, int, int]]:
    if result.pose is None:
        return "no infant found", _DIM_RGB
    text = "infant found" if result.infants <= 1 else f"{result.infants} infants found"
    if caption.used is None:
        return text, MIDLINE_RGB
    return (f"{text}, used", _GOOD_RGB) if caption.used else (f"{text}, not used", _DIM_RGB)


def side_rgb(joint: str) -> tuple[int, int, int]:
    """The colour of a joint's side of the body."""
    if joint.startswith("left_"):
        return LEFT_RGB
    return RIGHT_RGB if joint.startswith("right_") else MIDLINE_RGB


def _draw_skeleton(picture: np.ndarray, pose: Pose, scale: float, skeleton: Skeleton) -> None:
    draw_joints(picture, pose.kpts_frame, hidden=pose.scores < UNSURE_SCORE, scale=scale, skeleton=skeleton)


def draw_joints(
    picture: np.ndarray,
    kpts_frame: np.ndarray,
    *,
    hidden: np.ndarray,
    scale: float = 1.0,
    skeleton: Skeleton = INFANT,
) -> None:
    """Draw a skeleton into ``picture``.

    Args:
        picture: ``(H, W, 3)`` uint8, changed in place.
        kpts_frame: ``(K, 2)`` px.
        hidden: ``(K,)`` bool, joints to draw as rings.
        scale: line width and dot size, 1 for a picture 480 px high.
    """
    line, radius = max(1, round(2 * scale)), max(2, round(3.5 * scale))
    points = [_pixel(point) for point in kpts_frame]
    edges = [(a, b) for a, b in skeleton.edges if max(a, b) < len(points)]
    for width, shadow in ((line + 2, True), (line, False)):  # a dark rim keeps it readable on any sheet
        for child, parent in edges:
            colour = _SHADOW_RGB if shadow else side_rgb(skeleton.names[child])
            cv2.line(picture, points[child], points[parent], colour, width, cv2.LINE_AA)
    for k, point in enumerate(points):
        colour = side_rgb(skeleton.names[k])
        if hidden[k]:
            cv2.circle(picture, point, radius, colour, line, cv2.LINE_AA)
            continue
        cv2.circle(picture, point, radius + 1, _SHADOW_RGB, -1, cv2.LINE_AA)
        cv2.circle(picture, point, radius, colour, -1, cv2.LINE_AA)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    # Drawing functions overflow on wild coordinates; nothing that far out is visible anyway.
    x, y = np.clip(np.rint(point), -30000, 30000)
    return int(x), int(y)


def _strip(picture: np.ndarray, text: str, colour: tuple[int, int, int], scale: float, *, top: bool) -> None:
    """One line of text on a darkened strip, shrunk until it fits the width."""
    text = text.encode("ascii", "replace").decode()
    height, width = picture.shape[:2]
    size, thick, margin = 0.6 * scale, max(1, round(1.4 * scale)), round(8 * scale)
    (text_w, text_h), _ = cv2.getTextSize(text, _FONT, size, thick)
    if text_w > width - 2 * margin:
        size *= max((width - 2 * margin) / text_w, 0.3)
        (_, text_h), _ = cv2.getTextSize(text, _FONT, size, thick)
    tall = min(text_h + 2 * margin, height)
    part = picture[:tall] if top else picture[height - tall :]
    np.copyto(part, (part * 0.35).astype(np.uint8))
    baseline = (tall if top else height) - margin
    cv2.putText(picture, text, (margin, baseline), _FONT, size, colour, thick, cv2.LINE_AA)


def blur_faces_in(
    rgb: np.ndarray, result: FrameResult, skeleton: Skeleton = INFANT, *, strangers: bool = False
) -> np.ndarray:
    """A copy of the frame in which no face of an infant that ``result`` counts can be recognised.

    The posed infant's head is pixelated; where none is posed, the whole frame is. With several infants everything
    outside the posed one's joints is too: the others' heads are not known, and a box may hold some of theirs.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        result: what was found in this very frame; a smoothed skeleton lags behind a head that moves.
        strangers: hide what lies outside of the posed infant's joints even if it is the only one counted: an adult who
            leans in or an infant that was missed may be there. Who lies between the joints still shows.
    """
    pose = result.pose
    if pose is None:
        return _pixelated(rgb, rgb)
    picture = rgb.copy()
    if strangers or result.infants > 1:
        low, high = pose.bbox_xyxy.reshape(2, 2)
        own = np.clip([pose.kpts_frame.min(axis=0), pose.kpts_frame.max(axis=0)], low, high)
        x0, y0, x1, y1 = _clipped(own.ravel(), rgb)
        picture = _pixelated(rgb, rgb)
        picture[y0:y1, x0:x1] = rgb[y0:y1, x0:x1]
    centre, radius = _head(pose, skeleton)
    x0, y0, x1, y1 = _clipped(np.concatenate([centre - radius, centre + radius]), rgb)
    if x1 > x0 and y1 > y0:
        part = picture[y0:y1, x0:x1]
        mask = np.zeros(part.shape[:2], np.uint8)
        at = _pixel(centre - (x0, y0))
        cv2.circle(mask, at, max(1, round(float(radius))), 1, -1)
        part[mask == 1] = _pixelated(part, rgb, radius / 3)[mask == 1]
    return picture


def blur_labelled(
    rgb: np.ndarray, poses: Sequence[Pose | None], unlabelled: bool, skeleton: Skeleton = INFANT
) -> np.ndarray:
    """A copy of a labelled picture with every labelled head pixelated, all of it where a head's place is not known.

    Args:
        poses: the labels of each infant; None where they do not tell where its head is.
        unlabelled: whether more infants are in view: all but the labelled ones' joints is pixelated too.
    """
    picture = rgb if poses else blur_faces_in(rgb, FrameResult(0, 0.0, None, 1), skeleton)
    for pose in poses:
        # What "2 infants" hides beside this one.
        picture = blur_faces_in(picture, FrameResult(0, 0.0, pose, 2 if unlabelled else 1), skeleton)
    return picture


def labelled_pose(
    kpts_frame: np.ndarray, labelled: np.ndarray, detection: Detection, skeleton: Skeleton = INFANT
) -> Pose | None:
    """Labels as a pose for :func:`blur_labelled`; None where they do not tell where the head is.

    Args:
        kpts_frame: ``(K, 2)`` px; labelled: ``(K,)`` bool.
    """
    crown = skeleton.index("crown")
    if not labelled[skeleton.indices("crown", "upper_neck")].all():
        return None
    # Joints without a label lie nowhere: on the crown they add nothing to what the joints take up.
    kpts = np.where(labelled[:, None], kpts_frame, kpts_frame[crown])
    return Pose(kpts, np.ones(len(skeleton)), detection)


def _head(pose: Pose, skeleton: Skeleton) -> tuple[np.ndarray, float]:
    """Centre (x, y) and radius of a circle that holds the head, frame pixels."""
    crown, neck = (pose.kpts_frame[k] for k in skeleton.indices("crown", "upper_neck"))
    # An eighth of the box is the least a head can be; a collapsed prediction must not shrink the circle to
    # nothing.
    box = pose.bbox_xyxy
    least = 0.125 * float(max(box[2] - box[0], box[3] - box[1]))
    return (crown + neck) / 2, max(0.8 * float(np.linalg.norm(crown - neck)), least)


def _clipped(box: np.ndarray, rgb: np.ndarray) -> tuple[int, int, int, int]:
    limit = np.array([rgb.shape[1], rgb.shape[0]] * 2)
    x0, y0, x1, y1 = np.clip(np.rint(box), 0, limit).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def _pixelated(part: np.ndarray, frame: np.ndarray, block: float | None = None) -> np.ndarray:
    """In blocks so large that no face survives; ``block`` in px, by default a 24th of the frame."""
    side = max(4.0, max(frame.shape[:2]) / 24 if block is None else block)
    small = (max(1, round(part.shape[1] / side)), max(1, round(part.shape[0] / side)))
    blocks = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(blocks, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_NEAREST)
