"""Do 90 % intervals hold 90 % of the lengths, and what does a gate on their width cost and bring?

Stills and clips of many children over their true plane: the pose net and the geometry decide, not the tags, and
pictures may be small. A refused length counts where the geometry had one
(:func:`heightpose.geometry.body.measure` notes it beside its reason), so the curve of risk over coverage can be
drawn beyond the shipped gates, which are chosen on it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from heightpose.data.coco import Dataset
from heightpose.data.items import Item
from heightpose.data.pictures import read_picture
from heightpose.errors import ConfigError, FileFormatError, InputError
from heightpose.evaluate.known import measure_known
from heightpose.evaluate.subject import Subject
from heightpose.geometry import body
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.metrics.height import error_figures
from heightpose.runtime.clip import Frame
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.pipeline import estimate_poses
from heightpose.textfile import read_json
from heightpose.types import FrameResult, Measurement
from heightpose.words import plural

log = logging.getLogger("heightpose")

#: Relative standard deviations at which the curve is told.
GATES = (0.015, 0.02, 0.0225, 0.025, 0.0275, 0.03, 0.035, 0.04, 0.05, 0.07, 0.1)
#: An error that would mislead a parent or a clinic, cm.
GROSS_CM = 4.0
_STRATA = ("posture", "legs", "occlusion")


#: A still's camera, plane, truth (child, length_cm) and strata.
Record = tuple[Camera, Plane, dict[str, Any], dict[str, str]]


@dataclass(frozen=True)
class Length:
    """One child's length beside its truth.

    Attributes:
        estimate_cm: reported or not; None where the geometry had no length at all.
        relative_sd: what it was said to be sure to.
        code: why it was refused; None: it was reported.
        low_cm, high_cm: the interval that was given out, which a plane that is not sure widens; None of a refused one.
    """

    id: str
    child: str
    truth_cm: float
    strata: dict[str, str]
    estimate_cm: float | None
    relative_sd: float | None
    code: str | None
    low_cm: float | None = None
    high_cm: float | None = None

    @classmethod
    def of(
        cls, name: str, child: str, truth_cm: float, strata: dict[str, str], measured: Measurement
    ) -> Length:
        estimate = measured.length_cm
        if estimate is None:
            estimate = measured.details.get("unreported_cm")
        code = measured.reasons[0].code if measured.reasons else None
        low, high = (None, None) if measured.interval_cm is None else measured.interval_cm
        return cls(
            name, child, truth_cm, strata, estimate, measured.details.get("relative_sd"), code, low, high
        )

    @property
    def error_cm(self) -> float:
        assert self.estimate_cm is not None
        return self.estimate_cm - self.truth_cm

    @property
    def held(self) -> bool:
        """Whether the true length lies inside the interval; of a refused one, that which its surety makes."""
        if self.low_cm is not None and self.high_cm is not None:
            return self.low_cm <= self.truth_cm <= self.high_cm
        assert self.estimate_cm is not None
        assert self.relative_sd is not None
        return abs(self.error_cm) <= body.half_width_cm(self.estimate_cm, self.relative_sd)


def measure_stills(folders: Sequence[Path], split: str, detector: Detector, pose: PoseModel) -> list[Length]:
    """Measure every still of nursery data sets that shows one infant.

    Raises:
        ConfigError: none of the pictures is a nursery's, which knows camera, plane and length of each.
    """
    found = []
    for folder in folders:
        for item, result, (camera, plane, truth, strata) in look_at_stills(
            folder, known_stills(folder, split), detector, pose
        ):
            measured = body.measure([result], camera, plane)
            name = f"{folder.name}/{item.path.stem}"
            found.append(Length.of(name, truth["child"], truth["length_cm"], strata, measured))
    return found


def known_stills(folder: Path, split: str) -> list[Item]:
    """The stills of a split that show one infant and whose camera, plane and length are known.

    Raises:
        ConfigError: there is none.
    """
    items = [i for i in Dataset.load(folder).subset(split).items if len(i.people) == 1]
    # Of twins one may lie beyond the picture's edge, unlabelled.
    items = [i for i in items if str(i.strata.get("infants", 1)) == "1"]
    known = [item for item in items if _record_of(item).exists()]
    if not known:
        raise ConfigError(
            "no still of known camera, plane and length", where=folder, expected="a folder of heightpose synth",
            got=f"{plural(len(items), 'picture')} of one infant in split {split}",
        )  # fmt: skip
    return known


def look_at_stills(
    folder: Path, items: Sequence[Item], detector: Detector, pose: PoseModel
) -> Iterator[tuple[Item, FrameResult, Record]]:
    """What ``infer``'s networks see in each of the known stills, with what the nursery knows of it."""
    from tqdm import tqdm

    frames = (Frame(i, 0.0, read_picture(item.path)) for i, item in enumerate(items))
    looks = estimate_poses(frames, detector, pose)
    for item, (result, _) in zip(
        items, tqdm(looks, total=len(items), desc=folder.name, unit="still", disable=None), strict=True
    ):
        yield item, result, _read_record(_record_of(item))


def measure_clips(subjects: Sequence[Subject], detector: Detector, pose: PoseModel) -> list[Length]:
    """Measure every clip of test sets as ``infer`` does, over the true plane where the set knows it.

    A clip that cannot be read is left out with a warning.
    """
    from tqdm import tqdm

    found = []
    clips = [(subject.name, clip) for subject in subjects for clip in subject.clips]
    for name, clip in tqdm(clips, desc="measuring", unit="clip", disable=None):
        try:
            measured = measure_known(clip, detector, pose, true_plane=True).measurement
        except (InputError, FileFormatError) as error:
            log.warning("clip %s left out: %s", clip.id, error)
            continue
        strata = {key: clip.strata.get(key, "?") for key in _STRATA}
        found.append(Length.of(f"{name}/{clip.id}", clip.child, clip.length_cm, strata, measured))
    return found


def _record_of(item: Item) -> Path:
    """What the nursery wrote beside the picture."""
    return item.path.parent.parent / "items" / f"{item.path.stem}.json"


def _read_record(path: Path) -> Record:
    record: Any = read_json(path, "nursery's record")
    try:
        (frame,) = record
        (infant,) = frame["infants"]
        plane = Plane(np.array(frame["plane"]["R"]), np.array(frame["plane"]["t_cm"]))
        truth = {"child": str(infant["child"]), "length_cm": float(infant["length_cm"])}
        strata = {name: str(frame["strata"][name]) for name in _STRATA}
        return Camera.from_dict(frame["camera"]), plane, truth, strata
    except (TypeError, ValueError, KeyError) as error:
        raise FileFormatError("not a still's record", where=path, got=repr(error)) from error


def summarise(lengths: Sequence[Length]) -> dict[str, Any]:
    """Reported lengths, coverage of all intervals by stratum, and risk over coverage.

    Returns:
        ``reported``: figures of what is given out; ``refused``: how often by code; ``coverage``: by stratum of
        everything that has an estimate, with the two-sided binomial test's p against 90 %; ``risk``: by gate.
    """
    known = [one for one in lengths if one.estimate_cm is not None and one.relative_sd is not None]
    return {
        "pictures": len(lengths),
        "children": len({one.child for one in lengths}),
        "reported": _figures([one for one in lengths if one.code is None]),
        "refused": dict(Counter(one.code for one in lengths if one.code is not None).most_common()),
        "coverage": {name: _coverage(chosen) for name, chosen in _by_stratum(known) if chosen},
        "reported by stratum": {
            name: {"pictures": len(chosen)} | _figures([one for one in chosen if one.code is None])
            for name, chosen in _by_stratum(lengths) if chosen
        },
        "risk": [{"gate": gate} | _figures([k for k in known if _sd(k) <= gate]) for gate in GATES],
    }  # fmt: skip


def _sd(one: Length) -> float:
    return float("inf") if one.relative_sd is None else one.relative_sd


def _by_stratum(lengths: Sequence[Length]) -> Iterator[tuple[str, list[Length]]]:
    yield "all", list(lengths)
    for key in _STRATA:
        for value in sorted({one.strata[key] for one in lengths}):
            yield f"{key} {value}", [one for one in lengths if one.strata[key] == value]


def _figures(lengths: Sequence[Length]) -> dict[str, Any]:
    if not lengths:
        return {"measured": 0}
    errors = np.array([one.error_cm for one in lengths])
    size = np.abs(errors)
    return {"measured": len(errors)} | error_figures(errors) | {
        "max_cm": float(size.max()), "gross": int((size > GROSS_CM).sum()),
        "held": sum(one.held for one in lengths),
    }  # fmt: skip


def _coverage(lengths: Sequence[Length]) -> dict[str, Any]:
    held = sum(one.held for one in lengths)
    p = stats.binomtest(held, len(lengths), body.INTERVAL_LEVEL).pvalue
    return {"intervals": len(lengths), "held": held, "share": held / len(lengths), "p": float(p)}


def lines(summary: dict[str, Any]) -> list[str]:
    """The tables for a terminal."""
    out = [f"{summary['pictures']} stills or clips of {plural(summary['children'], 'child')}"]
    out.append("reported: " + _told(summary["reported"]))
    out.append("refused: " + ", ".join(f"{code} {count}" for code, count in summary["refused"].items()))
    out += ["", f"{'all estimates, given out or not':<34}{'inside 90 %':>16}{'p':>8}   given out"]
    for name, row in summary["coverage"].items():
        inside = f"{row['held']} of {row['intervals']} ({100 * row['share']:.0f} %)"
        given = summary["reported by stratum"][name]
        out.append(f"{name:<34}{inside:>16}{row['p']:>8.2f}   {_told(given, given['pictures'])}")
    out += ["", "gate on the relative standard deviation: risk over coverage"]
    out += [f"{row['gate']:<8g}{_told(row)}" for row in summary["risk"]]
    return out


def _told(row: dict[str, Any], of: int | None = None) -> str:
    count = f"{row['measured']}" + ("" if of is None else f" of {of}")
    if not row["measured"]:
        return count
    return (
        f"{count}, MAE {row['mae_cm']:.2f}, bias {row['bias_cm']:+z.2f}, P95 {row['p95_cm']:.2f}, "
        f"largest {row['max_cm']:.1f} cm, {row['gross']} beyond {GROSS_CM:g} cm, {row['held']} inside the interval"
    )
