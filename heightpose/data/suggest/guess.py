"""A frame's strata, guessed from the model's joints and the crop's colours: good enough to aim a budget, not to label.

Only what a picture shows can be told: posture, legs and infrared light. Everything else (age, scene, ...) is for the
table that :func:`read_strata` reads, which overrules the guess where it has a value.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from heightpose.data.suggest.looks import Look
from heightpose.errors import FileFormatError, InputError
from heightpose.skeleton import INFANT

#: What can be guessed. "bent" is what some sets call "tucked".
GUESSABLE = {
    "posture": ("back", "side", "front"),
    "legs": ("extended", "tucked", "bent", "covered"),
    "sensor": ("infrared",),
}
#: Half-width of the trunk over its length from which an infant lies flat; less is on its side.
_FLAT = 0.12
#: A leg as straight as this in the picture counts as extended, degrees of hip and knee.
_STRAIGHT_DEG = 35.0
_HIDDEN_SCORE = 0.25
#: Mean distance from grey, in Lab, below which a picture has no colour.
_GREY = 3.0


def guess(look: Look) -> dict[str, str]:
    """Stratum -> value; what cannot be told is missing."""
    colour = np.abs(look.thumb[..., 1:] - 128.0).mean()
    found = {"sensor": "infrared"} if colour < _GREY else {}
    if look.pose is None:
        return found
    crop = look.kpts_crop
    joints = {name: crop[k] for k, name in enumerate(INFANT.names)}
    trunk = float(np.linalg.norm(joints["thorax"] - joints["pelvis"]))
    # Head up and face up, the infant's left is on the picture's right.
    width = sum(joints[f"left_{part}"][0] - joints[f"right_{part}"][0] for part in ("shoulder", "hip")) / 4.0
    if trunk > 1e-6:
        turned = width / trunk
        found["posture"] = "side" if abs(turned) < _FLAT else "back" if turned > 0 else "front"
    scores = look.pose.scores[
        INFANT.indices(*(f"{s}_{p}" for s in ("left", "right") for p in ("knee", "ankle", "heel")))
    ]
    bent = min(_bend_deg(joints, side) for side in ("left", "right"))
    found["legs"] = (
        "covered" if np.median(scores) < _HIDDEN_SCORE else "extended" if bent < _STRAIGHT_DEG else "tucked"
    )
    return found


def _bend_deg(joints: dict[str, np.ndarray], side: str) -> float:
    """The larger of hip and knee flexion as seen in the picture."""
    thigh, shank = (
        joints[f"{side}_{b}"] - joints[f"{side}_{a}"] for a, b in (("hip", "knee"), ("knee", "ankle"))
    )
    return max(_angle_deg(joints["pelvis"] - joints["thorax"], thigh), _angle_deg(thigh, shank))


def _angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 180.0 if size < 1e-12 else float(np.degrees(np.arccos(np.clip(a @ b / size, -1.0, 1.0))))


def read_strata(path: Path) -> dict[str, dict[str, str]]:
    """A CSV with ``file`` (a video's or picture's name) and a column per stratum: file -> stratum -> value.

    Raises:
        InputError: no such file. FileFormatError: no ``file`` column, or a file twice.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot be read", where=path, got=error, hint="Check --strata") from error
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        name = (row.get("file") or "").strip()
        if not name or name in found:
            raise FileFormatError(
                "not a table of strata", where=f"{path}, line {number}, column file",
                expected="each video's or picture's name, once", got=repr(name),
            )  # fmt: skip
        values = {k: v.strip() for k, v in row.items() if k not in (None, "file") and isinstance(v, str)}
        found[name] = {k: v for k, v in values.items() if v}
    return found
