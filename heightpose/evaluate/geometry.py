"""Where the centimetres are lost: the same clips measured with true joints, true planes and true bones in turn.

Each row of the split knows one thing less than the one above it:

- ``bones``: the true 3D joints. What is left is the map from joints to crown-heel length.
- ``elevation``: the true joints in the picture and the true mattress plane: elevation and posture have to be inferred.
- ``plane``: the true joints in the picture, the plane as ``infer`` finds it from the tags.
- ``joints``: all as ``infer`` does it.

Chosen noise on the true joints of the two middle rows says how much pose error the geometry bears. True bones and
planes come from the clip's truth file, which the nursery writes; outside sets without it have the other rows. Frames
in which a joint is not labelled have no true joints and are left out of the two middle rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.codec.confidence import chance_right
from heightpose.data.clips import Clip as LengthClip
from heightpose.data.items import Item, head_angle_deg
from heightpose.errors import ConfigError, FileFormatError, InputError
from heightpose.evaluate.known import measure_known
from heightpose.evaluate.subject import Subject
from heightpose.geometry import body
from heightpose.geometry.camera import Camera
from heightpose.geometry.clip_lift import SIDES
from heightpose.geometry.lift import default_lift, group_lengths
from heightpose.geometry.plane import Plane
from heightpose.geometry.plane_track import PlaneTrack
from heightpose.metrics.height import error_figures, null_length
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.skeleton import INFANT
from heightpose.textfile import read_json
from heightpose.types import Detection, FrameResult, Measurement, Pose
from heightpose.words import plural

log = logging.getLogger("heightpose")

ROWS = ("bones", "elevation", "plane", "joints")
#: What exact labels are still said to be off by, px: nothing is known better than a pixel's fraction.
_LABEL_SD_PX = 0.25
#: Joints that a length is worked out from: head_top says what crown says.
_NEEDED = np.array([k for k, name in enumerate(INFANT.names) if name != "head_top"])


@dataclass(frozen=True)
class Split:
    """One clip's errors in cm by row of :data:`ROWS`; None where that row could not be or was not measured.

    ``null_cm``, of the WHO median, is None where the growth tables do not reach.
    """

    clip: str
    length_cm: float
    errors_cm: dict[str, float | None]
    strata: dict[str, str]
    null_cm: float | None


def split_errors(
    subject: Subject, detector: Detector, pose_model: PoseModel, *, noise_px: float = 0.0, seed: int = 0
) -> list[Split]:
    """Measure every clip of a test set along all rows.

    Args:
        noise_px: standard deviation of Gaussian noise on each coordinate of the true joints, independent by frame.

    Raises:
        ConfigError: no clip has labelled frames.
    """
    from tqdm import tqdm

    labelled = subject.of_clips
    chosen = [clip for clip in subject.clips if labelled[clip.video]]
    if not chosen:
        raise ConfigError("no clip of this set has labelled frames", where=subject.folder)
    found = []
    for number, clip in enumerate(tqdm(chosen, desc="splitting", unit="clip", disable=None)):
        rng = np.random.default_rng([seed, number])
        try:
            found.append(_split(clip, labelled[clip.video], detector, pose_model, noise_px, rng))
        except (InputError, FileFormatError) as error:
            log.warning("clip %s left out: %s", clip.id, error)
    return found


def _split(
    clip: LengthClip, items: Sequence[Item], detector: Detector, pose_model: PoseModel, noise_px: float,
    rng: np.random.Generator,
) -> Split:  # fmt: skip
    outcome = measure_known(clip, detector, pose_model)
    frames = true_frames([item for item in items if not _unlabelled(item)], noise_px, rng)
    if not frames:
        log.warning(
            "clip %s is left out of the rows of true joints: none of its labelled frames has all of them, the first "
            "lacks %s", clip.id, ", ".join(_unlabelled(items[0])),
        )  # fmt: skip
    truth = None if clip.truth is None else read_truth(clip.truth)
    lengths: dict[str, float | None] = dict.fromkeys(ROWS)
    lengths["joints"] = outcome.measurement.length_cm
    if frames and outcome.camera is not None:
        plane = outcome.plane if outcome.track is None else outcome.track
        lengths["plane"] = _measured(frames, outcome.camera, plane)
        if truth is not None:
            lengths["elevation"] = _measured(frames, outcome.camera, truth.plane)
    if truth is not None:
        lengths["bones"] = _from_bones(truth.joints_cm)
    errors = {row: None if value is None else value - clip.length_cm for row, value in lengths.items()}
    null = null_length(clip.sex, clip.age_months) - clip.length_cm
    return Split(clip.id, clip.length_cm, errors, dict(clip.strata), null if np.isfinite(null) else None)


def _measured(frames: list[FrameResult], camera: Camera, plane: Plane | PlaneTrack | None) -> float | None:
    if plane is None:
        return None
    placed = [f for f in frames if plane.at(f.index) is not None]
    measurement: Measurement = body.measure(placed, camera, plane)
    return measurement.length_cm


def _from_bones(joints_cm: np.ndarray) -> float:
    groups = np.median(group_lengths(joints_cm), axis=0)
    bones = np.array([groups[list(columns)].mean() for columns in SIDES])
    return float(default_lift().length_weights @ bones)


def told_true(kpts: np.ndarray, detection: Detection, head_px: float, noise_px: float = 0.0) -> Pose:
    """Joints ``(K, 2)`` frame px as a pose net tells of them that knows its errors.

    Args:
        head_px: the head's true size in the picture, crown to upper_neck.
        noise_px: what ``kpts`` err by, standard deviation of each coordinate; labels are never taken to be exact.
    """
    variance = max(noise_px, _LABEL_SD_PX) ** 2
    return Pose(
        kpts, np.ones(len(INFANT)), detection,
        cov_frame=np.tile([variance, 0.0, variance], (len(INFANT), 1)),
        probabilities=np.full(len(INFANT), chance_right(head_px, np.sqrt(variance))),
    )  # fmt: skip


def true_frames(items: Sequence[Item], noise_px: float, rng: np.random.Generator) -> list[FrameResult]:
    """The labels of a clip's frames as if a perfect pose net, or one that errs by ``noise_px``, had seen them."""
    found = []
    for item in sorted(items, key=lambda i: i.frame or 0):
        index, pose = item.frame or 0, None
        if len(item.people) == 1:
            person = item.people[0]
            kpts = person.kpts_frame + rng.normal(0, noise_px, person.kpts_frame.shape)
            angle = head_angle_deg(person.kpts_frame, person.visibility > 0)
            crown, neck = person.kpts_frame[list(INFANT.indices("crown", "upper_neck"))]
            head_px = float(np.linalg.norm(crown - neck))
            pose = told_true(kpts, Detection(person.bbox_xyxy, angle or 0.0, 1.0), head_px, noise_px)
        found.append(FrameResult(index, float(index), pose, len(item.people)))
    return found


def _unlabelled(item: Item) -> list[str]:
    """Joints that a length needs and an infant of the frame has no label of: there is no place to tell of them."""
    lacking = [_NEEDED[person.visibility[_NEEDED] == 0] for person in item.people]
    return [INFANT.names[k] for k in sorted({int(k) for some in lacking for k in some})]


@dataclass(frozen=True)
class TruthFile:
    """What the nursery knows of a clip: the mattress plane and the joints ``(T, K, 3)`` over it, cm."""

    plane: Plane
    joints_cm: np.ndarray


def read_truth(path: Path) -> TruthFile:
    """Read a clip's truth file, a plane file with joints. Raises FileFormatError naming the field that is wrong."""
    plane = Plane.load(path)
    try:
        document: Any = read_json(path, "clip's truth")
        array = np.asarray(document["joints_cm"], dtype=np.float64)
    except (TypeError, ValueError, KeyError):
        array = np.zeros(0)
    if array.ndim != 3 or array.shape[1:] != (len(INFANT), 3) or not np.isfinite(array).all():
        raise FileFormatError(
            "not the joints of a clip", where=f"{path}: joints_cm", expected=f"(T, {len(INFANT)}, 3) numbers",
            got=array.shape,
        )  # fmt: skip
    return TruthFile(plane, array)


def summarise(splits: Sequence[Split], noise_px: float) -> dict[str, Any]:
    """MAE, bias, 95th percentile and yield by row; ``parts`` over the clips measured along every row.

    A part is what one step of ignorance adds: the error of a row minus that of the row above it, clip by clip.
    """
    rows = {}
    for row in ROWS:
        errors = np.array([s.errors_cm[row] for s in splits if s.errors_cm[row] is not None], dtype=float)
        rows[row] = error_figures(errors) | {"measured": len(errors), "clips": len(splits)}
    null = np.array([s.null_cm for s in splits if s.null_cm is not None])
    whole = [s for s in splits if all(s.errors_cm[row] is not None for row in ROWS)]
    parts = {}
    for before, row in zip((None, *ROWS[:-1]), ROWS, strict=True):
        step = np.array([s.errors_cm[row] - (0.0 if before is None else s.errors_cm[before]) for s in whole])  # type: ignore[operator]
        parts[row] = error_figures(step)
    return {
        "noise_px": noise_px, "rows": rows, "parts": parts, "parts_clips": len(whole),
        "null": error_figures(null) | {"known": len(null), "clips": len(splits)},
    }  # fmt: skip


def lines(summary: dict[str, Any]) -> list[str]:
    """The table for a terminal."""
    titles = {
        "bones": "true 3D joints", "elevation": "+ elevation, posture inferred", "plane": "+ plane from the tags",
        "joints": "+ joints of the pose net",
    }  # fmt: skip
    noise = f", true joints with {summary['noise_px']:g} px noise" if summary["noise_px"] else ""
    out = [f"{'what is inferred' + noise:<42}{'MAE':>7}{'bias':>8}{'P95':>7}{'measured':>12}   adds (MAE)"]
    for row, title in titles.items():
        figures = summary["rows"][row]
        out.append(
            f"{title:<42}{_cm(figures['mae_cm']):>7}{_cm(figures['bias_cm'], sign=True):>8}{_cm(figures['p95_cm']):>7}"
            f"{figures['measured']:>5} of {figures['clips']:<4}   {_cm(summary['parts'][row]['mae_cm'])}"
        )
    null = summary["null"]
    figures = (_cm(null["mae_cm"]), _cm(null["bias_cm"], sign=True), _cm(null["p95_cm"]))
    out.append(f"{'WHO median (null model)':<42}{figures[0]:>7}{figures[1]:>8}{figures[2]:>7}")
    if null["known"] < null["clips"]:
        left_out = plural(null["clips"] - null["known"], "clip")
        out.append(
            f"the WHO median is over {null['known']}: {left_out} without sex and an age of 0 to 24 months"
        )
    out.append("trained observers on a length board: TEM 0.3-0.5 cm")
    out.append(
        f"'adds' over the {plural(summary['parts_clips'], 'clip')} measured along every row; all in cm"
    )
    return out


def _cm(value: float | None, sign: bool = False) -> str:
    return "-" if value is None else f"{value:+z.2f}" if sign else f"{value:.2f}"
