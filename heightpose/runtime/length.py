"""From what a log holds to a length: how sure its plane is widens the interval, and which frames take part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heightpose.geometry import body
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.plane_track import PlaneTrack
from heightpose.runtime.poselog import PoseLog
from heightpose.types import Measurement, Reason

#: What the unknown tilt of a camera that is only said to look straight down adds to the length, relative
#: (1 sd, below and above): seen at a tilt t, lengths shrink by cos t to cos^2 t, 3 to 7 % at the capture protocol's 15
#: degrees, and never grow.
_HEIGHT_ONLY_SD = (0.03, 0.06)
#: The same where the mattress's corners were marked by hand: they are good to about half a centimetre on the round
#: edge of a mattress, whose nominal size is good to about one. Where they miss its shape by more, so much more: the
#: pose's own standard deviation, twice, as 6 of the corners' 8 numbers were fitted.
_CORNERS_SD, _CORNERS_FREEDOM = 0.01, 2.0

_MOVED_WITH_INFANT = Reason(
    "camera_moved",
    "The camera moved, and where it stood still the infant was not seen. Please fix it in place above the cot and "
    "record again.",
)


def measure_log(
    log: PoseLog,
    camera: Camera | None,
    plane: Plane | PlaneTrack | None,
    trouble: Reason | None = None,
    before: int | None = None,
) -> Measurement:
    """Measure from the frames seen so far.

    Args:
        plane: the mattress; of a track only the frames with a plane are used.
        trouble: why there is no scale; the clip is then rejected with it.
        before: only use frames with a smaller index.
    """
    total = len(log.looked_at(before))
    frames = log.sample(before)
    reasons = [] if trouble is None else [trouble]
    if not any(frame.pose is not None for frame in frames):
        reasons.append(body.reason("no_infant"))
    if reasons or camera is None or plane is None:
        return Measurement.rejected(reasons, frames_total=total)
    placed = [frame for frame in frames if plane.at(frame.index) is not None]
    if not any(frame.pose is not None for frame in placed):
        return Measurement.rejected([_MOVED_WITH_INFANT], frames_total=total)
    measurement = body.measure(placed, camera, plane, shown_xyxy=log.shown_xyxy)
    details = dict(measurement.details)
    if isinstance(plane, PlaneTrack):
        left_out = len(frames) - len(placed)
        details["camera_moved"] = {"stretches": len(plane.stretches), "frames_left_out": left_out}
    if len(frames) < total:
        details["frames_sampled"] = len(frames)
    measurement = replace(measurement, frames_total=total, details=details)
    planes = [plane.at(frame.index) for frame in placed if frame.pose is not None]
    sds = [plane_sd(one) for one in planes if one is not None]  # those that the infant was seen over
    return widened(measurement, (max(low for low, _ in sds), max(high for _, high in sds)))


def plane_sd(plane: Plane) -> tuple[float, float]:
    """How unsure the plane makes a length, relative (1 sd, below and above): its tilt, marked corners, a bent sheet."""
    if plane.source == "height":
        return _HEIGHT_ONLY_SD
    if plane.source != "corners":
        return (plane.length_sd,) * 2
    own = _CORNERS_FREEDOM * (plane.height_sd_cm or 0.0) / plane.height_cm
    return (max(_CORNERS_SD, own),) * 2


def widened(measurement: Measurement, sds: tuple[float, float]) -> Measurement:
    """The interval of a length whose plane is only sure to ``sds``, relative (below, above)."""
    length = measurement.length_cm
    if length is None or measurement.interval_cm is None or not any(sds):
        return measurement
    low, high = (
        length + sign * float(np.hypot(end - length, body.Z90 * sd * length))
        for sign, end, sd in zip((-1, 1), measurement.interval_cm, sds, strict=True)
    )
    return replace(measurement, interval_cm=(low, high))
