"""One picture under several names: the same bytes, or compressed again; one video frame that is named twice."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from heightpose.data.checks.finding import CONTRADICTION, Finding, Fix
from heightpose.data.coco import Dataset
from heightpose.data.items import Item, Person
from heightpose.data.pictures import decode

_SIDE = 24
#: Compression changes a thumbnail by a grey level or two; another frame of the same cot by more.
_SAME_LEVELS = 2.5
_SAME_LABELS = 0.01
#: Labels of one picture that lie no farther apart than this (px) say the same: rounding, another idea of pixels.
_SAME_PX = 1.0


def find_duplicates(dataset: Dataset) -> list[Finding]:
    """Pairs that show the same picture; other frames of one video are compared by nobody, they are alike by nature."""
    stills = [item for item in dataset.items if item.frame is None]
    same: dict[str, list[Item]] = defaultdict(list)
    thumbs: list[np.ndarray] = []
    for item in stills:  # one by one: a set of large pictures holds more bytes than a machine
        data = item.path.read_bytes()
        group = same[hashlib.sha256(data).hexdigest()]
        group.append(item)
        if len(group) == 1:
            thumbs.append(_thumbnail(decode(data, item.path)))
    folder = dataset.path.parent
    found = [_exact(first, other, folder) for first, *others in same.values() for other in others]
    single = [group[0] for group in same.values()]
    if len(single) > 1:
        found += _near(single, np.stack(thumbs), folder)
    frames: dict[tuple[str, int], list[Item]] = defaultdict(list)
    for item in dataset.items:
        if item.frame is not None:
            frames[os.path.realpath(item.path), item.frame].append(item)
    twice = [(first, other) for first, *others in frames.values() for other in others]
    return found + [_exact(*pair, folder, "the same frame") for pair in twice]


def _thumbnail(rgb: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()


def _near(items: list[Item], thumbs: np.ndarray, folder: Path) -> list[Finding]:
    found = []
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, len(items), (2, 2000))
    apart = np.abs(thumbs[one] - thumbs[two]).mean(axis=1)[one != two]
    # Dark or plain pictures differ by few levels at all: then the same picture must differ by far fewer.
    same = min(_SAME_LEVELS, 0.2 * float(np.median(apart))) if len(apart) else 0.0
    for a in range(len(items) - 1):
        for mirror in (False, True):
            own = thumbs[a].reshape(_SIDE, _SIDE)[:, ::-1].ravel() if mirror else thumbs[a]
            levels = np.abs(thumbs[a + 1 :] - own).mean(axis=1)
            for b in np.flatnonzero(levels < same) + a + 1:
                first, other = items[a], items[int(b)]
                if not _alike(first, other, mirror):
                    continue  # a still baby in a fixed camera: alike, but labelled where it lies in each
                if not first.people or not other.people:
                    continue  # empty cots under a fixed camera all look alike
                how = "mirrored" if mirror else "compressed again"
                found.append(_pair(first, other, f"the same picture {how}", CONTRADICTION, None, folder))
    return found


def _alike(one: Item, two: Item, mirror: bool = False) -> bool:
    """The same labels, in shares of the picture; of a mirrored copy the boxes must be mirrored."""
    if len(one.people) != len(two.people):
        return True
    for p, q in zip(one.people, two.people, strict=True):
        if mirror:
            x0, y0, x1, y1 = q.bbox_xyxy
            flipped = np.array([two.size_wh[0] - 1 - x1, y0, two.size_wh[0] - 1 - x0, y1])
            apart = np.abs(p.bbox_xyxy / (one.size_wh * 2) - flipped / (two.size_wh * 2))
            if float(apart.max()) > _SAME_LABELS:
                return False
            continue
        both = p.usable & q.usable
        gap = np.abs(p.kpts_frame[both] / one.size_wh - q.kpts_frame[both] / two.size_wh)
        if both.any() and float(np.median(gap)) > _SAME_LABELS:
            return False
    return True


def _identical(one: Item, two: Item) -> bool:
    """Whether the labels of one picture's two items say the same throughout, so that either may go."""
    said = [(i.infants_in_view, i.strata, i.recording, i.recording_sha256, len(i.people)) for i in (one, two)]
    people = zip(one.people, two.people, strict=False)
    return said[0] == said[1] and all(_identical_people(p, q) for p, q in people)


def _identical_people(p: Person, q: Person) -> bool:
    if (p.child, p.strata) != (q.child, q.strata) or (p.head_box_xyxy is None) != (q.head_box_xyxy is None):
        return False
    if (p.visibility != q.visibility).any() or (p.out_of_frame != q.out_of_frame).any():
        return False
    places = [(p.kpts_frame, q.kpts_frame), (p.bbox_xyxy, q.bbox_xyxy)]
    if p.head_box_xyxy is not None and q.head_box_xyxy is not None:
        places.append((p.head_box_xyxy, q.head_box_xyxy))
    return all(float(np.abs(a - b).max()) <= _SAME_PX for a, b in places)


def _exact(one: Item, two: Item, folder: Path, what: str = "the same file") -> Finding:
    # Which copy to keep is only clear where both sit in the same split and say the same.
    clear = one.split == two.split and _identical(one, two)
    fix = Fix(two.id, None) if clear else None
    return _pair(one, two, what, CONTRADICTION + 2, fix, folder)


def _pair(one: Item, two: Item, what: str, severity: float, fix: Fix | None, folder: Path) -> Finding:
    across = one.split != two.split
    text = f"{what} as {one.place_in(folder)}"
    text += f", across splits ({one.split} and {two.split})" if across else ""
    person = two.people[0] if two.people else None
    return Finding("duplicate", severity + 3 * across, text, two, person, others=(one,), fix=fix)
