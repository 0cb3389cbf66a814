"""The per-joint sigmas of the OKS loss: published ones, uniform ones, or measured on two labellings of one set.

COCO's definition: two people label the same pictures; a joint's sigma is the root mean square of how far their labels
lie apart, in units of the root of the person's area, per axis and per labeller. ``heightpose data sigmas`` measures
it on any two data sets of the same pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from heightpose.config import LossConfig
from heightpose.data.items import Item, Person
from heightpose.errors import ConfigError, FileFormatError, InputError
from heightpose.metrics import oks
from heightpose.skeleton import INFANT, Skeleton
from heightpose.textfile import read_json

#: Fewer pairs of labels than this say nothing of their spread.
LEAST_PAIRS = 10
#: Nobody labels more exactly than this (COCO's smallest, the eyes', is 0.025); where two labellings agree to the
#: pixel, one was copied from the other.
LEAST_SIGMA = 0.005


def chosen_sigmas(loss: LossConfig, skeleton: Skeleton) -> np.ndarray:
    """``(K,)`` float32: the sigmas that the configuration names.

    Raises:
        ConfigError: "file" without a file, or a file that lacks a joint.
    """
    count = len(skeleton)
    if loss.oks_sigmas == "uniform":
        return np.full(count, 1.0 / count, dtype=np.float32)
    if loss.oks_sigmas == "third":
        return np.full(count, 1.0 / count / 3.0, dtype=np.float32)
    if loss.oks_sigmas == "published":
        return oks.sigmas(skeleton).astype(np.float32)
    if loss.oks_file is None:
        raise ConfigError(
            "no file of sigmas is named", where="loss.oks_file", hint="Measure one: heightpose data sigmas"
        )
    measured = read_sigmas(Path(loss.oks_file))
    missing = [name for name in skeleton.names if name not in measured]
    if missing:
        raise ConfigError(
            "sigmas are missing", where=loss.oks_file, expected=skeleton.names, got=f"no {missing[0]}"
        )
    return np.array([measured[name] for name in skeleton.names], dtype=np.float32)


def read_sigmas(path: Path) -> dict[str, float]:
    """The sigmas by joint of a file that :func:`measure` filled.

    Raises:
        InputError, FileFormatError: no such file, or not numbers above 0 by joint.
    """
    document = read_json(path, "sigmas' file")
    sigmas = document.get("sigmas") if isinstance(document, dict) else None
    right = isinstance(sigmas, dict) and all(
        type(v) in (int, float) and np.isfinite(v) and v > 0 for v in sigmas.values()
    )
    if not right:
        raise FileFormatError("not sigmas by joint", where=path, expected='{"sigmas": {"crown": 0.02, ...}}')
    return {str(name): float(value) for name, value in sigmas.items()}  # type: ignore[union-attr]


def measure(first: list[Item], second: list[Item], skeleton: Skeleton = INFANT) -> dict[str, Any]:
    """Sigmas by joint from two labellings of the same pictures; left and right sides are one.

    Pictures are matched by file name and frame, people within one by their order after sorting by box; a picture
    with another number of people in the other labelling is left out.

    Returns:
        "sigmas" and "pairs" by joint, and "people" compared.

    Raises:
        InputError: fewer than :data:`LEAST_PAIRS` pairs of some joint, or two labellings that are one.
    """
    pairs = _people(first, second)
    apart: dict[str, list[float]] = {_part(name): [] for name in skeleton.names}
    for a, b in pairs:
        area = (_area(a) + _area(b)) / 2
        both = (a.visibility > 0) & (b.visibility > 0)
        square = ((a.kpts_frame - b.kpts_frame) ** 2).sum(axis=-1) / area
        for k in np.flatnonzero(both):
            apart[_part(skeleton.names[k])].append(float(square[k]))
    few = {part: len(values) for part, values in apart.items() if len(values) < LEAST_PAIRS}
    if few:
        part, count = min(few.items(), key=lambda item: item[1])
        raise InputError(
            f"too few labels of the {part} in both sets", expected=f"at least {LEAST_PAIRS}", got=count,
            hint="Label the same pictures twice, each time afresh",
        )  # fmt: skip
    # Two axes, two labellers: the difference of two labels has twice a label's variance, on either axis.
    spread = {part: float(np.sqrt(np.mean(values) / 4.0)) for part, values in apart.items()}
    if max(spread.values()) < LEAST_SIGMA:
        raise InputError("the two sets agree to the pixel", hint="Name two independent labellings")
    return {
        "sigmas": {name: round(max(spread[_part(name)], LEAST_SIGMA), 5) for name in skeleton.names},
        "pairs": {name: len(apart[_part(name)]) for name in skeleton.names},
        "people": len(pairs),
    }


def _people(first: list[Item], second: list[Item]) -> list[tuple[Person, Person]]:
    other = {(item.path.name, item.frame): item.people for item in second}
    pairs: list[tuple[Person, Person]] = []
    for item in first:
        theirs = other.get((item.path.name, item.frame), ())
        if len(theirs) == len(item.people):
            by_box = [sorted(people, key=lambda p: tuple(p.bbox_xyxy)) for people in (item.people, theirs)]
            pairs += zip(*by_box, strict=True)
    return pairs


def _area(person: Person) -> float:
    box = person.bbox_xyxy
    return float(max((box[2:] - box[:2]).prod(), 1.0))


def _part(name: str) -> str:
    return name.removeprefix("left_").removeprefix("right_")
