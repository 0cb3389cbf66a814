"""One child, many frames: bone lengths shared by the whole clip, and crown-heel length with its interval.

Every frame gives each bone group a length and a standard deviation (heightpose.geometry.lift). A bone has one length:
the frames are combined with weights 1 / sd^2, robustly (Huber), left and right together. Frames of one clip share
their mistakes (the same posture, the same pixels), so their errors are taken as correlated and many frames never make
the interval vanish. Legs bent in most frames do not shorten the child: bent frames weigh little, and when no frame
shows the bones well enough the clip is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.legs import legs_extended
from heightpose.geometry.lift import LiftedFrames, LiftNet, default_lift, lift_frames
from heightpose.geometry.plane import Plane
from heightpose.geometry.plane_track import PlaneTrack
from heightpose.skeleton import INFANT
from heightpose.types import FrameResult, Measurement, Reason

INTERVAL_LEVEL = 0.9
_Z = 1.6449  # two-sided 90 %
#: Correlation of the errors of two frames of one clip. Legs that are tucked in all of them are misread alike in all.
_SHARED_ERROR = 0.5
_SHARED_ERROR_TUCKED = 1.0
#: What neither joints nor plane explain: the chain's map to crown-heel length, relative to the length.
_MODEL_SD = 0.006
#: What the predicted standard deviations are multiplied by. On 151 held-out nursery infants (one still each, on the
#: back, peak above 0.6) 90 % of the errors then lie within 1.57 standard deviations, of extended and of tucked legs
#: alike, where 1.645 is promised.
_CALIBRATION = 1.1
#: A clip is refused when its length is known worse than this, relative (1 sd): children of one age and sex spread by
#: 3.5 % themselves (WHO's S), so a length no better known than that measures nothing.
_MAX_RELATIVE_SD = 0.035
#: ... and at this already when fewer than a fifth of the frames show a leg unbent: lengths of legs that are always
#: tucked rest on the elevation model, and a doubtful one comes out short.
_MAX_RELATIVE_SD_TUCKED = 0.03
_TUCKED_SHARE = 0.2
#: Flexion read off a picture errs by some 20 degrees (hips above all), so a leg counts as bent only well beyond 30.
_SURELY_BENT_DEG = 50.0
_MIN_FRAMES = 1
# Heatmap peaks rank how well a skeleton fits. On held-out nursery stills (one frame each) those whose median height
# joint peaks above 0.9 were off by 1.2 cm in the mean, 0.8-0.9 by 2.0, 0.6-0.8 by 4.1, below 0.6 by up to 15 cm: the
# last are not used, and the standard deviation of the others grows as the peak falls.
_MIN_PEAK = 0.6
_SURE_PEAK = 0.93
_SD_PER_PEAK = 9.0
_PLAUSIBLE_CM = (38.0, 105.0)

_REASONS = {
    "no_infant": "No baby was found in the video. Please point the camera straight down at the cot and record again.",
    "several_infants": "More than one baby seems to be in view. Please record one baby at a time.",
    "not_on_back": "The baby is not lying on its back. Please lay the baby on its back and record again.",
    "legs_not_seen": "The legs were never seen straight enough to measure. Please gently extend one leg, or record "
    "a little longer.",
    "out_of_view": "Part of the baby is outside the picture. Please move the camera so that head and feet are in view.",
    "implausible": "The result is not a plausible length for a baby up to two years. Please check that the sheet and "
    "camera files belong to this recording.",
    "uncertain": "The baby could not be measured precisely enough. Please record again with better light and the whole "
    "body uncovered.",
}


def reason(code: str) -> Reason:
    """The reason with the words that belong to its code."""
    return Reason(code, _REASONS[code])


def _in_view(result: FrameResult, size_wh: tuple[int, int]) -> bool:
    assert result.pose is not None
    kpts = result.pose.kpts_frame[INFANT.height_joints]
    return bool((kpts >= -0.5).all() and (kpts <= np.array(size_wh) - 0.5).all())


def _peak(result: FrameResult) -> float:
    assert result.pose is not None
    return float(np.median(result.pose.scores[INFANT.height_joints]))


def _robust_mean(values: np.ndarray, sd: np.ndarray, shared: float) -> tuple[float, float, np.ndarray]:
    """Huber-weighted mean of ``values`` ``(N,)`` with standard deviations ``sd``, errors correlated by ``shared``.

    Returns:
        (mean, sd_of_mean, weights): the weights are normalised.
    """
    weights = 1.0 / sd**2
    mean = float(np.median(values))
    for _ in range(10):
        pull = np.abs(values - mean) / sd
        robust = weights * np.where(pull <= 1.5, 1.0, 1.5 / np.maximum(pull, 1e-9))
        mean = float((robust * values).sum() / robust.sum())
    share = robust / robust.sum()
    independent = (share**2 * sd**2).sum()
    together = (share * sd).sum() ** 2
    return mean, float(np.sqrt((1 - shared) * independent + shared * together)), share


def _combine(lifted: LiftedFrames, shared: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(upper body, thigh, shank): log lengths, their sds, and each frame's share of the leg evidence."""
    logs, sds = [], []
    shares = np.zeros(len(lifted.lengths_cm))
    for columns in ((0,), (1, 3), (2, 4)):  # left and right bones have one length
        values = np.log(np.maximum(lifted.lengths_cm[:, columns], 0.1)).ravel()
        sd = lifted.relative_sd[:, columns].ravel()
        mean, mean_sd, share = _robust_mean(values, sd, shared)
        logs.append(mean)
        sds.append(mean_sd)
        if len(columns) == 2:
            shares += share.reshape(-1, 2).sum(1) / 2
    return np.array(logs), np.array(sds), shares


def _lifted(
    frames: Sequence[FrameResult], kpts: np.ndarray, camera: Camera, plane: Plane | PlaneTrack, lift: LiftNet
) -> LiftedFrames:
    """Every frame over its own plane; ``kpts`` ``(T, K, 2)`` are the frames' joints."""
    if isinstance(plane, Plane):
        return lift_frames(kpts, camera, plane, lift)
    parts = []
    for _, rows in groupby(range(len(frames)), key=lambda i: id(plane.at(frames[i].index))):
        chosen = list(rows)
        own = plane.at(frames[chosen[0]].index)
        if own is None:
            raise ValueError(f"frame {frames[chosen[0]].index} has no plane")
        parts.append(lift_frames(kpts[chosen], camera, own, lift))
    names = ("joints_cm", "lengths_cm", "relative_sd", "on_back")
    return LiftedFrames(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def measure(
    frames: Sequence[FrameResult], camera: Camera, plane: Plane | PlaneTrack, lift: LiftNet | None = None
) -> Measurement:
    """Crown-heel length of the one infant in a clip.

    Args:
        frames: every decoded frame, those without an infant included.
        camera: valid for the frames' size (:meth:`Camera.for_frames`).
        plane: the mattress; where the camera moved, its track, which must have a plane for every frame given.

    Returns:
        A measurement, or a rejection with its reasons; nothing is raised for what the clip shows.
    """
    lift = default_lift() if lift is None else lift
    total = len(frames)
    seen = [f for f in frames if f.pose is not None]
    if len(seen) < max(_MIN_FRAMES, round(0.1 * total)):
        return Measurement.rejected([reason("no_infant")], frames_total=total)
    if np.mean([f.infants > 1 for f in seen]) > 0.5:
        return Measurement.rejected([reason("several_infants")], frames_total=total)
    whole = [f for f in seen if _in_view(f, camera.size_wh)]
    if len(whole) < max(_MIN_FRAMES, round(0.2 * len(seen))):
        return Measurement.rejected([reason("out_of_view")], frames_total=total)

    peaks = np.array([_peak(f) for f in whole])
    clear = peaks >= _MIN_PEAK
    if not clear.any():
        return Measurement.rejected(
            [reason("uncertain")], frames_total=total, best_peak=round(float(peaks.max()), 2)
        )
    whole = [f for f, keep in zip(whole, clear, strict=True) if keep]
    doubt = 1.0 + _SD_PER_PEAK * np.maximum(_SURE_PEAK - peaks[clear], 0.0)
    kpts = np.stack([f.pose.kpts_frame for f in whole if f.pose is not None])
    lifted = _lifted(whole, kpts, camera, plane, lift)
    lifted = replace(lifted, relative_sd=lifted.relative_sd * doubt[:, None])
    lying = lifted.on_back > 0.5
    if lying.mean() < 0.5:
        return Measurement.rejected(
            [reason("not_on_back")], frames_total=total, on_back=round(float(lying.mean()), 2)
        )
    lying_frames = [f.index for f, back in zip(whole, lying, strict=True) if back]
    lifted = LiftedFrames(
        *(getattr(lifted, n)[lying] for n in ("joints_cm", "lengths_cm", "relative_sd", "on_back"))
    )

    extended = float(np.mean([legs_extended(joints) for joints in lifted.joints_cm]))
    unbent = float(np.mean([legs_extended(joints, _SURELY_BENT_DEG) for joints in lifted.joints_cm]))
    tucked = unbent < _TUCKED_SHARE
    logs, sds, shares = _combine(lifted, _SHARED_ERROR_TUCKED if tucked else _SHARED_ERROR)
    parts = lift.length_weights * np.exp(logs)
    length = float(parts.sum())
    relative = parts / length
    sd = _CALIBRATION * float(np.sqrt(((relative * sds) ** 2).sum() + _MODEL_SD**2))
    used = [index for index, share in zip(lying_frames, shares, strict=True) if share > 0.25 / len(shares)]
    informed = len(used)
    details = {
        "bones_cm": {
            name: {"length_cm": round(float(np.exp(log)), 2), "sd_cm": round(float(np.exp(log) * s), 2)}
            for name, log, s in zip(("upper body", "thigh", "shank"), logs, sds, strict=True)
        },
        "used_frames": used,
        "leg_extended_share": round(extended, 2),
        "relative_sd": round(sd, 4),
        "on_back": round(float(lying.mean()), 2),
        "frames": {
            "infant_seen": len(seen), "wholly_in_view": len(whole), "on_back": int(lying.sum()), 
            "informed_legs": informed,
        },
    }  # fmt: skip
    if sd > (_MAX_RELATIVE_SD_TUCKED if tucked else _MAX_RELATIVE_SD):
        legs_to_blame = tucked or float(np.hypot(*(relative * sds)[1:])) > float((relative * sds)[0])
        code = "legs_not_seen" if legs_to_blame else "uncertain"
        return Measurement.rejected([reason(code)], frames_total=total, frames_used=informed, **details)
    if not _PLAUSIBLE_CM[0] <= length <= _PLAUSIBLE_CM[1]:
        return Measurement.rejected(
            [reason("implausible")],
            frames_total=total,
            frames_used=informed,
            unreported_cm=round(length, 1),
            **details,
        )
    half = _Z * sd * length
    return Measurement(
        length,
        (length - half, length + half),
        total,
        informed,
        interval_level=INTERVAL_LEVEL,
        details=details,
    )
