"""One child, many frames: bone lengths shared by the whole clip, and crown-heel length with its interval.

Every frame gives each bone a length and a standard deviation (heightpose.geometry.lift); a bone has one length, so the
frames of a clip are joined (heightpose.geometry.clip_lift), which also says how wrong the result can be. Legs bent in
most frames do not shorten the child: bent frames weigh little, and when no frame shows the bones well enough the clip
is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.clip_lift import ClipBones, combine
from heightpose.geometry.in_view import bare_headed, seen_of, wholly_in_view
from heightpose.geometry.legs_seen import LegsSeen, share_extended
from heightpose.geometry.lift import BONES, LiftedFrames, LiftNet, default_lift, lift_frames
from heightpose.geometry.plane import Plane
from heightpose.geometry.plane_track import PlaneTrack
from heightpose.skeleton import INFANT
from heightpose.types import FrameResult, Measurement, Pose, Reason

INTERVAL_LEVEL = 0.9
#: Standard deviations from the middle of a normal distribution to either end of its 90 % interval.
Z90 = 1.6449
#: What neither joints nor elevations explain, relative: the chain's map to crown-heel length, and what the
#: pose net gets wrong in all frames of a child alike.
_MODEL_SD = 0.007
#: A net that is unsure answers about the mean of what it thinks possible, and bones between such means are short
#: (attenuation). Lengths come out short by this times their relative standard deviation beyond that of clean joints.
#: These three are fitted with the factors of :mod:`heightpose.geometry.legs_seen`.
_SHORT, _CLEAN_SD = 0.5, 0.011
#: A clip is refused when its length is known worse than this, relative (1 sd); children of one age and sex spread by
#: 3.5 % themselves (WHO's S). Chosen on the curve of risk over coverage, as one that gives out half of the clips that
#: are not as the product asks for them and keeps errors beyond 4 cm well under 2 %: none of 183 nursery clips, nor of
#: 75 further ones (docs/measurement.md).
_MAX_RELATIVE_SD = 0.0375
#: Least share of frames with an infant, of these wholly in view (of these bare-headed), of these clear.
_LEAST_SEEN, _LEAST_WHOLE, _LEAST_CLEAR = 0.1, 0.2, 0.1
#: Log of thigh and shank over upper body: among 1,225 nursery children -0.76 (sd 0.06) and -0.89 (sd 0.07). Real
#: children spread alike; five times that is a left leg taken for a right one, or no infant.
_USUAL_RATIOS = np.array([-0.76, -0.89])
_MOST_UNUSUAL = np.array([0.32, 0.36])
#: Log of an infant's head (crown to upper neck, cm) by that of its trunk (thorax to pelvis): the smaller an infant, the
#: longer its head for its trunk. 250 nursery bodies: sd 0.06.
_USUAL_HEAD = np.polynomial.Polynomial([0.92, 0.446])
#: More beyond it, the median over the frames: the crown was found on a ball, a hand or whatever else lies on the head.
#: 601 lengths given out of nursery stills: -0.03 (sd 0.08), one beyond (docs/measurement.md).
_LONGEST_HEAD = 0.25
#: The upper body shows in every posture: frames that differ by more in its log length (weighted sd) show two children,
#: a bent sheet or a camera that moved unnoticed.
_MOST_SPREAD = 0.08
#: A frame whose upper body differs from the clip's by this much, log, shows another child; of more than this share of
#: such frames a clip is refused. The weighted spread misses them where they are less clear than the others. Of 49
#: nursery clips of one child each, postures of all kinds, one of 383 frames is so far off (docs/measurement.md).
_OTHER_CHILD, _MOST_OTHERS = 0.05, 0.25
#: Below that: what frames differ by beyond what the bone is unsure of widens the interval. Lengths given out of 29
#: clips of one child each have 0.014 at most (median 0.006).
_USUAL_SPREAD = 0.015
# On held-out nursery stills skeletons whose median height joint peaks below 0.6 gave lengths up to 15 cm off: not used.
_MIN_PEAK = 0.6
_PLAUSIBLE_CM = (38.0, 105.0)

_REASONS = {
    "no_infant": "No baby was found in the video. Please point the camera straight down at the cot and record again.",
    "several_infants": "More than one baby seems to be in view. Please record one baby at a time.",
    "not_on_back": "The baby is not lying on its back. Please lay the baby on its back and record again.",
    "legs_not_seen": "The legs were never seen straight enough to measure. Please gently extend one leg, or record "
    "a little longer.",
    "legs_covered": "The legs are covered. Please uncover the legs and record again.",
    "head_covered": "Something covers the top of the head. Please take it away and record again.",
    "too_few_frames": "Only a few pictures of the video show the baby clearly. Please record again with better light "
    "and a steady camera.",
    "implausible_proportions": "The proportions of the body do not look like a baby's. Please record again with the "
    "whole body uncovered and nothing else in the cot.",
    "inconsistent_frames": "The pictures of the video contradict each other. Please keep the camera and the sheet "
    "still, record one baby only, and record again.",
    "out_of_view": "Part of the baby is outside the picture. Please move the camera so that head and feet are in view.",
    "implausible": "The result is not a plausible length for a baby up to two years. Please check that the sheet and "
    "camera files belong to this recording.",
    "uncertain": "The baby could not be measured precisely enough. Please record again with better light and the whole "
    "body uncovered.",
}

#: Refusals of what is seen but not clearly, which posture may have caused (docs/measurement.md).
_POSTURE_MATTERS = frozenset({"head_covered", "uncertain", "too_few_frames"})

_ONE_LEG_COVERED = Reason(
    "legs_covered",
    "One leg is covered or hidden by the other. Please lay both legs uncovered side by side and record again.",
)

_FEET_COVERED = Reason("legs_covered", "Something lies over the feet. Please take it away and record again.")


def reason(code: str) -> Reason:
    """The reason with the words that belong to its code."""
    return Reason(code, _REASONS[code])


def half_width_cm(length_cm: float, relative_sd: float) -> float:
    """Half of the interval of :data:`INTERVAL_LEVEL` around a length whose relative standard deviation is known."""
    return Z90 * relative_sd * length_cm


def surety(pose: Pose) -> float:
    """How clearly a skeleton is seen: the median heatmap peak of its height joints."""
    return float(np.median(pose.scores[INFANT.height_joints]))


def _lifted(
    frames: Sequence[FrameResult], camera: Camera, plane: Plane | PlaneTrack, lift: LiftNet
) -> LiftedFrames:
    """Every frame over its own plane."""
    poses = [f.pose for f in frames if f.pose is not None]
    kpts = np.stack([pose.kpts_frame for pose in poses])
    told = [
        _of_all(said)
        for said in zip(*((p.cov_frame, p.probabilities, seen_of(p)) for p in poses), strict=True)
    ]
    parts = []
    for _, rows in groupby(range(len(frames)), key=lambda i: id(_plane_of(frames[i], plane))):
        chosen = list(rows)
        own = _plane_of(frames[chosen[0]], plane)
        parts.append(
            lift_frames(kpts[chosen], camera, own, lift, *(None if t is None else t[chosen] for t in told))
        )
    return LiftedFrames.joined(parts)


def _of_all(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Stacked, or None where one is missing."""
    known = [array for array in arrays if array is not None]
    return np.stack(known) if len(known) == len(arrays) else None


def _plane_of(frame: FrameResult, plane: Plane | PlaneTrack) -> Plane:
    found = plane.at(frame.index)
    if found is None:
        raise ValueError(f"frame {frame.index} has no plane")
    return found


def measure(
    frames: Sequence[FrameResult],
    camera: Camera,
    plane: Plane | PlaneTrack,
    lift: LiftNet | None = None,
    shown_xyxy: Sequence[float] | None = None,
) -> Measurement:
    """Crown-heel length of the one infant in a clip.

    Args:
        frames: every decoded frame, those without an infant included.
        camera: valid for the frames' size (:meth:`Camera.for_frames`).
        plane: the mattress; where the camera moved, its track, which must have a plane for every frame given.
        shown_xyxy: as :func:`~heightpose.geometry.in_view.wholly_in_view` takes it.

    Returns:
        A measurement, or a rejection with its reasons; nothing is raised for what the clip shows.
    """
    lift = default_lift() if lift is None else lift
    usable = clear_frames(frames, camera, shown_xyxy)
    if isinstance(usable, Measurement):
        return _with_posture(usable, frames, camera, plane, lift)
    lifted = _lifted(usable, camera, plane, lift)
    lying = lifted.on_back > 0.5
    on_back = float(lying.mean())
    bones = combine(lifted, lift)
    legs = LegsSeen.of(usable, lifted)
    agreeing_sd = float(np.hypot(legs.doubt * bones.length_relative_sd, _MODEL_SD))
    lengths_cm = bones.lengths_cm * np.exp(_SHORT * max(0.0, agreeing_sd - _CLEAN_SD))
    sd = float(np.hypot(agreeing_sd, _contradiction(bones)))
    parts = lift.length_weights * lengths_cm
    length = float(parts.sum())
    informed_by = _informed_by(bones, usable)
    used = sorted({index for name in BONES[1:] for index in informed_by[name]})
    details = {
        "bones_cm": {
            name: {
                "length_cm": round(float(value), 2), "sd_cm": round(float(value * part_sd), 2),
                "frames": informed_by[name],
            }
            for name, value, part_sd in zip(BONES, lengths_cm, bones.relative_sd, strict=True)
        },
        "used_frames": used,
        "leg_extended_share": round(share_extended(lifted), 2),
        "relative_sd": round(sd, 4),
        "on_back": round(on_back, 2),
        "frames": {
            "infant_seen": sum(f.pose is not None for f in frames), "usable": len(usable), "on_back": int(lying.sum()),
            "informed_legs": len(used),
        },
    }  # fmt: skip
    code = _doubt(bones, parts, agreeing_sd, legs)
    if code is None and legs.feet_at_edge:
        code = "legs_covered"
    if code is None and _head_too_long(lifted) > _LONGEST_HEAD:
        code = "head_covered"
    if code is None and (sd > _MAX_RELATIVE_SD or _share_of_others(lifted, bones) > _MOST_OTHERS):
        code = "inconsistent_frames"
    if code is not None and on_back < 0.5:
        code = "not_on_back"  # what can be done about it
    if code is None and not _PLAUSIBLE_CM[0] <= length <= _PLAUSIBLE_CM[1]:
        code = "implausible"
    if code is not None:
        details["unreported_cm"] = round(length, 2)
        why = reason(code)
        if code == "legs_covered" and legs.feet_at_edge:
            why = _FEET_COVERED
        elif code == "legs_covered" and legs.one_hidden:
            why = _ONE_LEG_COVERED
        return Measurement.rejected([why], frames_total=len(frames), frames_used=len(used), **details)
    half = half_width_cm(length, sd)
    return Measurement(
        length,
        (length - half, length + half),
        len(frames),
        len(used),
        interval_level=INTERVAL_LEVEL,
        details=details,
    )


def _rejected(code: str, clip: Sequence[FrameResult], used: int = 0, **details: Any) -> Measurement:
    return Measurement.rejected([reason(code)], frames_total=len(clip), frames_used=used, **details)


def _with_posture(
    rejected: Measurement,
    frames: Sequence[FrameResult],
    camera: Camera,
    plane: Plane | PlaneTrack,
    lift: LiftNet,
) -> Measurement:
    """The same, and that the infant lies on its side or front where its skeletons say so in most frames.

    Of an infant on its side joints are hidden and unsure, and no light or uncovering changes that.
    """
    if rejected.reasons[0].code not in _POSTURE_MATTERS:
        return rejected
    seen = [f for f in frames if f.pose is not None]
    on_back = float((_lifted(seen, camera, plane, lift).on_back > 0.5).mean())
    details = rejected.details | {"on_back": round(on_back, 2)}
    reasons = rejected.reasons if on_back >= 0.5 else (*rejected.reasons, reason("not_on_back"))
    return replace(rejected, reasons=reasons, details=details)


def clear_frames(
    frames: Sequence[FrameResult], camera: Camera, shown_xyxy: Sequence[float] | None = None
) -> list[FrameResult] | Measurement:
    """The frames that show one infant, whole and clearly, or the rejection of a clip that has too few of them."""
    seen = [f for f in frames if f.pose is not None]
    if len(seen) < max(1, round(_LEAST_SEEN * len(frames))):
        return _rejected("no_infant", frames)
    if np.mean([f.infants > 1 for f in seen]) > 0.5:
        return _rejected("several_infants", frames)
    whole = wholly_in_view(seen, camera.size_wh, shown_xyxy)
    if len(whole) < max(1, round(_LEAST_WHOLE * len(seen))):
        return _rejected("out_of_view", frames)
    bare = bare_headed(whole)
    if len(bare) < max(1, round(_LEAST_WHOLE * len(whole))):
        return _rejected("head_covered", frames)
    peaks = np.array([surety(f.pose) for f in bare if f.pose is not None])
    clear = [f for f, peak in zip(bare, peaks, strict=True) if peak >= _MIN_PEAK]
    if not clear:
        return _rejected("uncertain", frames, best_peak=round(float(peaks.max()), 2))
    if len(clear) < round(_LEAST_CLEAR * len(bare)):
        return _rejected("too_few_frames", frames, len(clear), clear_frames=len(clear))
    return clear


def _doubt(bones: ClipBones, parts: np.ndarray, sd: float, legs: LegsSeen) -> str | None:
    """Why a length with the relative standard deviation ``sd`` is not given out; None when it may be."""
    if legs.hidden and sd > _MAX_RELATIVE_SD:  # what can be done about it, whatever guessed legs look like
        return "legs_covered"
    ratios = np.log(bones.lengths_cm[1:] / bones.lengths_cm[0])
    if (np.abs(ratios - _USUAL_RATIOS) > _MOST_UNUSUAL).any():
        return "implausible_proportions"
    if bones.spread[0] > _MOST_SPREAD:
        return "inconsistent_frames"
    if sd <= _MAX_RELATIVE_SD:
        return None
    doubt = parts * bones.relative_sd
    legs_known = not legs.tucked and float(np.hypot(*doubt[1:])) <= float(doubt[0])
    return "uncertain" if legs_known else "legs_not_seen"


def _contradiction(bones: ClipBones) -> float:
    """What the frames' upper bodies differ by beyond what is unsure of that bone, relative (1 sd).

    Two children in turn, or a sheet that lies lower in a part of the frames, give a mean that fits neither, by as much.
    """
    expected = max(_USUAL_SPREAD, float(bones.relative_sd[0]))
    return float(np.sqrt(max(0.0, float(bones.spread[0]) ** 2 - expected**2)))


def _head_too_long(lifted: LiftedFrames) -> float:
    """Log of the head's length over what is usual for the trunk, the median over the frames."""
    head, trunk = (
        np.log(np.maximum(np.linalg.norm(lifted.joints_cm[:, a] - lifted.joints_cm[:, b], axis=1), 0.1))
        for a, b in (INFANT.indices("crown", "upper_neck"), INFANT.indices("thorax", "pelvis"))
    )
    return float(np.median(head - _USUAL_HEAD(trunk)))


def _share_of_others(lifted: LiftedFrames, bones: ClipBones) -> float:
    """Of the frames: those whose upper body is another child's than the one measured, however unclear they are."""
    logs = np.log(np.maximum(lifted.lengths_cm[:, 0], 0.1))
    return float(np.mean(np.abs(logs - bones.shares[:, 0] @ logs) > _OTHER_CHILD))


def _informed_by(bones: ClipBones, frames: Sequence[FrameResult]) -> dict[str, list[int]]:
    """The frames that gave each bone at least a quarter of an equal share."""
    return {
        name: [f.index for f, share in zip(frames, column, strict=True) if share > 0.25 / len(column)]
        for name, column in zip(BONES, bones.shares.T, strict=True)
    }
