"""The per-joint sigmas of the OKS loss: published ones, uniform ones, or measured on two labellings of one set.

COCO's definition: two people label the same pictures; a joint's sigma is the root mean square of how far their labels
lie apart, in units of the root of the person's area, per axis and per labeller. ``heightpose data sigmas`` measures
it on any two data sets of the same pictures.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.config import LossConfig
from heightpose.data.coco import Dataset
from heightpose.data.items import Item, Person
from heightpose.errors import ConfigError, FileFormatError, InputError
from heightpose.metrics import oks
from heightpose.skeleton import INFANT, Skeleton, part_of
from heightpose.textfile import read_json

log = logging.getLogger(__name__)

#: Fewer pairs of labels than this say nothing of their spread.
LEAST_PAIRS = 10
#: Nobody labels more exactly than this (COCO's smallest, the eyes', is 0.025); where two labellings agree to the
#: pixel, one was copied from the other.
LEAST_SIGMA = 0.005


def chosen_sigmas(loss: LossConfig, skeleton: Skeleton) -> np.ndarray:
    """``(K,)`` float32: the sigmas that the configuration names; a warning where it also names a file that they are not
    from.

    Raises:
        ConfigError: "file" without a file, or a file that lacks a joint.
    """
    count = len(skeleton)
    if loss.oks_file is not None and (loss.kind, loss.oks_sigmas) != ("oks", "file"):
        log.warning(
            "loss.oks_file is not used: that takes loss.kind: oks and loss.oks_sigmas: file, which here are %s and %s",
            *(loss.kind, loss.oks_sigmas),
        )
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


def measure(first: Dataset, second: Dataset, skeleton: Skeleton = INFANT) -> dict[str, Any]:
    """Sigmas by joint from two labellings of the same pictures; left and right sides are one.

    Pictures are matched by frame and the end of their path, as far as it is the same and nobody else's: the file name
    alone where only one picture of either set has it. People within one are matched by their order after sorting by
    box; a picture with another number of people in the other labelling is left out.

    Returns:
        "sigmas" and "pairs" by joint, and "people" compared.

    Raises:
        InputError: fewer than :data:`LEAST_PAIRS` pairs of some joint, two labellings that are one, or pictures of one
            name that no folder tells apart.
    """
    pairs = [both for pictures in _pictures(first, second) for both in _people(*pictures)]
    apart: dict[str, list[float]] = {part_of(name): [] for name in skeleton.names}
    for a, b in pairs:
        area = (_area(a) + _area(b)) / 2
        both = (a.visibility > 0) & (b.visibility > 0)
        square = ((a.kpts_frame - b.kpts_frame) ** 2).sum(axis=-1) / area
        for k in np.flatnonzero(both):
            apart[part_of(skeleton.names[k])].append(float(square[k]))
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
        "sigmas": {name: round(max(spread[part_of(name)], LEAST_SIGMA), 5) for name in skeleton.names},
        "pairs": {name: len(apart[part_of(name)]) for name in skeleton.names},
        "people": len(pairs),
    }


def _pictures(first: Dataset, second: Dataset) -> list[tuple[Item, Item]]:
    """Both sets' items of the pictures that are in both."""
    ours, theirs = _by_ending(first), _by_ending(second)
    pairs: list[tuple[Item, Item]] = []
    unclear: dict[tuple[str, ...], str] = {}
    for item in first.items:
        shared = next((end for end in _endings(item) if end in theirs), None)
        if shared is None:
            continue
        if len(ours[shared]) == len(theirs[shared]) == 1:
            pairs.append((item, theirs[shared][0]))
        else:
            unclear[_endings(item)[-1]] = (
                f"{len(ours[shared])} '{item.name}' here and {len(theirs[shared])} in {second.path}"
            )
    # Of a name that was matched elsewhere the rest is in one of the sets only.
    left = unclear.keys() - {_endings(item)[-1] for item, _ in pairs}
    if left:
        raise InputError(
            "which pictures are the same is not clear", where=first.path,
            expected="names, or folders with names, that are the same in both sets and there once",
            got=unclear[min(left)], hint="Keep the pictures' folders in both sets",
        )  # fmt: skip
    return pairs


def _by_ending(dataset: Dataset) -> dict[tuple[str, ...], list[Item]]:
    found: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in dataset.items:
        for end in _endings(item):
            found[end].append(item)
    return found


def _endings(item: Item) -> list[tuple[str, ...]]:
    """The picture's path, then less and less of it, down to its name; each with the frame."""
    parts = Path(os.path.abspath(item.path)).parts
    return [(str(item.frame), *parts[k:]) for k in range(len(parts))]


def _people(one: Item, two: Item) -> list[tuple[Person, Person]]:
    if len(one.people) != len(two.people):
        return []
    by_box = [sorted(item.people, key=lambda p: tuple(p.bbox_xyxy)) for item in (one, two)]
    return list(zip(*by_box, strict=True))


def _area(person: Person) -> float:
    box = person.bbox_xyxy
    return float(max((box[2:] - box[:2]).prod(), 1.0))
