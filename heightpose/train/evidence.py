"""Held-out pictures and video frames on the path of ``infer``: what heatmaps said of each joint, how wrong it was."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from heightpose.codec.confidence import FINE, Evidence
from heightpose.data.coco import Dataset
from heightpose.data.items import Item, Person, head_angle_deg
from heightpose.data.pictures import first_frame, labelled_frames
from heightpose.errors import ConfigError
from heightpose.evaluate.run import match
from heightpose.metrics.pckh import head_sizes
from heightpose.runtime.clip import Frame
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.pipeline import estimate_poses
from heightpose.runtime.tta import Tta
from heightpose.types import Detection


@dataclass(frozen=True, eq=False)
class Samples:
    """N labelled infants seen in one set of views.

    Attributes:
        evidence: of N people, K joints.
        error_crop: ``(N, K, 2)`` prediction minus truth, crop px.
        error_heads: ``(N, K)`` its length in head sizes; NaN where the joint is not labelled in the frame or the
            head's size is not known.
        visibility: ``(N, K)`` 2 seen, 1 hidden, 0 not labelled or out of the frame.
        children: who it is, ``(N,)`` str.
    """

    evidence: Evidence
    error_crop: np.ndarray
    error_heads: np.ndarray
    visibility: np.ndarray
    children: np.ndarray

    def __len__(self) -> int:
        return len(self.children)

    @property
    def known(self) -> np.ndarray:
        """``(N, K)`` bool: joints whose error is known."""
        return np.isfinite(self.error_heads)

    def of(self, chosen: np.ndarray) -> Samples:
        """Some of the people; ``chosen`` is a mask or indices."""
        e = self.evidence
        evidence = Evidence(e.peak[chosen], e.cov_crop[chosen], e.sigma_crop, e.view_peak[chosen])
        arrays = (self.error_crop, self.error_heads, self.visibility, self.children)
        return Samples(evidence, *(array[chosen] for array in arrays))


@dataclass
class Cost:
    """What looking at each picture took, crop to joints: milliseconds by the clock, and of all processors together."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


def labelled(folders: Sequence[Path], split: str) -> list[tuple[Item, str]]:
    """Pictures and video frames of a split with their people, each with its data set's name (children are numbered per
    set)."""
    found = []
    for folder in folders:
        items = Dataset.load(folder).subset(split).items
        found += [(item, folder.resolve().name) for item in items if item.people]
    if not found:
        raise ConfigError(
            "no labelled picture is in this split", expected=split, hint="Check --data, --split"
        )
    return found


def detections(
    items: Sequence[tuple[Item, str]], detector: Detector | None, model: PoseModel
) -> Iterator[tuple[np.ndarray, Detection, Person, str]]:
    """(rgb, crop's box and direction, person, child) for everybody found.

    With a detector as ``infer`` does it, second look included; people it misses are left out, a twin whose box overlaps
    that of the one it finds among them. Without one, the true
    boxes with the head up by the true joints.
    """
    bar = tqdm(_read(items), unit="picture", desc="posing", total=len(items), disable=None, file=sys.stderr)
    for number, item, source, rgb in bar:
        pose = None
        if detector is not None:
            ((result, _),) = estimate_poses([Frame(0, 0.0, rgb)], detector, model)
            pose = result.pose
        own = None if pose is None else match(pose.bbox_xyxy, item.people)[0]
        alone = number if item.series is None else item.series
        for place, person in enumerate(item.people):
            child = f"{source}/{alone if person.child is None else person.child}"
            if detector is None:
                angle = head_angle_deg(person.kpts_frame, person.visibility > 0)
                yield rgb, Detection(person.bbox_xyxy, 0.0 if angle is None else angle, 1.0), person, child
            elif pose is not None and place == own:
                yield rgb, pose.detection, person, child


def _read(items: Sequence[tuple[Item, str]]) -> Iterator[tuple[int, Item, str, np.ndarray]]:
    """Each with its place and its picture as ``infer`` reads it; all frames of a video where its first one stands."""
    videos: dict[Path, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, (item, _) in enumerate(items):
        if item.frame is not None:
            videos[item.path][item.frame].append(number)
    for number, (item, source) in enumerate(items):
        if item.frame is None:
            yield number, item, source, first_frame(item.path)
            continue
        places = videos.pop(item.path, {})
        for index, rgb in labelled_frames(item.path, set(places)) if places else ():
            yield from ((place, *items[place], rgb) for place in places[index])


def collect(
    items: Sequence[tuple[Item, str]],
    detector: Detector | None,
    model: PoseModel,
    views: Sequence[Tta],
    costs: dict[str, Cost] | None = None,
    *,
    finely: bool = False,
) -> dict[str, Samples]:
    """Everybody found, looked at in the same crop under each set of views.

    Args:
        items: from :func:`labelled`.
        detector: None for true boxes.
        views: sets of views; the detections are made with the model's own.
        costs: filled with the cost of each set.
        finely: each set also with the net's finer input, where it has one, of those who are seen in more detail than
            its own holds; under the set's name with :data:`FINE`.

    Raises:
        ConfigError: nobody is found. FileFormatError: the model lacks joints of the infant skeleton.
    """
    model.require_infant_joints("are judged")
    models = {str(tta): replace(model, tta=tta) for tta in views}
    if finely and model.fine is not None:
        models |= {f"{tta}{FINE}": replace(model.fine, tta=tta) for tta in views}
    rows: dict[str, list[tuple]] = {name: [] for name in models}
    children: dict[str, list[str]] = {name: [] for name in models}
    for rgb, detection, person, child in detections(items, detector, model):
        size, known = head_sizes(person.kpts_frame[None], (person.visibility > 0)[None], model.skeleton)
        usable = person.usable & known[0]
        for name, one in models.items():
            if name.endswith(FINE) and not model.loses_detail(detection):
                continue
            children[name].append(child)
            crop = one.crop_of(detection)
            wall, cpu = time.perf_counter(), time.process_time()
            look = one.look([rgb], [crop])
            if costs is not None:
                cost = costs.setdefault(name, Cost())
                cost.wall_ms.append(1000 * (time.perf_counter() - wall))
                cost.cpu_ms.append(1000 * (time.process_time() - cpu))
            frame_error = np.linalg.norm(crop.to_frame(look.kpts_crop[0]) - person.kpts_frame, axis=1)
            heads = np.where(usable, frame_error / np.where(known[0], size[0], 1.0), np.nan)
            e = look.evidence
            rows[name].append(
                (e.peak[0], e.cov_crop[0], e.view_peak[0], look.kpts_crop[0] - crop.to_crop(person.kpts_frame), heads,
                 np.where(person.out_of_frame, 0, person.visibility))
            )  # fmt: skip
    if not any(children.values()):
        raise ConfigError("nobody was found in these pictures", hint="Check --data, or the detector")
    found = {}
    for name, column in rows.items():
        if not column:
            continue
        peak, cov, view_peak, error, heads, visibility = (np.stack(c) for c in zip(*column, strict=True))
        evidence = Evidence(peak, cov, models[name].codec.sigma_crop, view_peak)
        found[name] = Samples(evidence, error, heads, visibility, np.array(children[name]))
    return found
