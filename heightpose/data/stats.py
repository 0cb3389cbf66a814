"""What a data set looks like in numbers: channels, sizes, head directions, visibility of joints, strata."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.data.items import Item, Person, head_angle_deg
from heightpose.data.pictures import Pictures
from heightpose.data.strata import counts_of, strata_table, table_lines
from heightpose.skeleton import INFANT

#: torchvision's; what pre-trained backbones were normalised with. RGB, 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

ANGLE_EDGES_DEG = np.linspace(-180.0, 180.0, 25)
SIZE_STEP_PX = 20.0  # of one width everywhere, so that columns compare
SHARE_EDGES = np.linspace(0.0, 1.0, 21)
VISIBILITY = ("seen", "hidden", "out_of_frame", "unlabelled")
_QUANTILES = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass
class ChannelSums:
    """Sums over pixels, from which mean and standard deviation of any collection follow.

    Attributes:
        pixels: how many.
        total, squares: ``(3,)`` sums of the RGB values 0..255 and of their squares; exact integers in float64.
    """

    pixels: int
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, rgb: np.ndarray) -> ChannelSums:
        """Of one ``(H, W, 3)`` uint8 picture, by way of its histogram."""
        levels = np.arange(256.0)
        counts = np.stack([np.bincount(rgb[..., c].ravel(), minlength=256) for c in range(3)])
        return cls(rgb.shape[0] * rgb.shape[1], counts @ levels, counts @ levels**2)


Sums = dict[tuple[Path, int | None], ChannelSums]


def channel_sums(items: Iterable[Item], skip_bad: bool = False) -> Sums:
    """Decode every picture once. Keys are (path, frame); with ``skip_bad`` damaged pictures have none.

    Raises:
        FileFormatError: (without ``skip_bad``) a damaged or wrongly sized picture, by name.
    """
    from tqdm import tqdm

    by_file: dict[Path, dict[int | None, Item]] = defaultdict(dict)
    for item in items:
        by_file[item.path][item.frame] = item
    sums: Sums = {}
    for path, frames in tqdm(by_file.items(), unit="file", desc="reading pictures", disable=None):
        pictures = Pictures(list(frames.values()), skip_bad=skip_bad)  # one file's at a time: flat memory
        for i, item in enumerate(pictures.items):
            sums[path, item.frame] = ChannelSums.of(pictures.picture(i))
    return sums


def statistics(items: Iterable[Item], sums: Sums) -> dict[str, Any]:
    """All statistics of some items, as plain JSON values.

    ``channels``: mean and standard deviation over all pixels, 0..1, R G B. ``size_px``: the longer side of an
    infant's box. ``share_of_frame``: the part of the frame's area that its box covers, clipped to the frame.
    ``head_angle_deg``: 0 up, positive clockwise. ``joints``: infants per joint, each in one of seen, hidden,
    out_of_frame and unlabelled.
    """
    items = list(items)
    people = [(item, person) for item in items for person in item.people]
    angles = [head_angle_deg(p.kpts_frame, p.visibility > 0) for _, p in people]
    known = np.array([a for a in angles if a is not None])
    return {
        "counts": counts_of(items),
        "channels": _channels([sums[i.path, i.frame] for i in items if (i.path, i.frame) in sums]),
        "size_px": _spread([float((p.bbox_xyxy[2:] - p.bbox_xyxy[:2]).max()) for _, p in people]),
        "share_of_frame": _spread([_share(i, p) for i, p in people], SHARE_EDGES),
        "head_angle_deg": {
            "unknown": len(angles) - len(known),
            "edges": ANGLE_EDGES_DEG.tolist(),
            "counts": np.histogram(known, ANGLE_EDGES_DEG)[0].tolist(),
        },
        "joints": _visibility([p for _, p in people]),
        "strata": {
            stratum: {value: {"children": c, "items": n} for value, (c, n) in row.items()}
            for stratum, row in strata_table(items).items()
        },
    }


def report_lines(columns: dict[str, dict[str, Any]]) -> list[str]:
    """The statistics side by side as text, a column for each title."""
    titles = list(columns)
    lines = [f"{'':<26}" + "".join(f"{t[:15]:>16}" for t in ("ImageNet", *titles))]

    def row(name: str, imagenet: str, cells: Iterable[str]) -> None:
        lines.append(f"{name:<26}" + "".join(f"{cell:>16}" for cell in (imagenet, *cells)))

    for key in ("children", "items", "infants", "empty", "train", "val", "test"):
        row("empty cots" if key == "empty" else key, "", [str(c["counts"][key]) for c in columns.values()])
    for name, known in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        for c, channel in enumerate("RGB"):
            values = [column["channels"][name] for column in columns.values()]
            row(
                f"channel {name} {channel}", f"{known[c]:.3f}",
                ["-" if v is None else f"{v[c]:.3f}" for v in values],
            )  # fmt: skip
    for key, name, digits in (("size_px", "infant px", 0), ("share_of_frame", "share of frame", 2)):
        for quantile in _QUANTILES:
            row(f"{name} {quantile}", "", [_number(c[key][quantile], digits) for c in columns.values()])
    lines += ["", "head direction, degrees (0 up, 90 to the picture's right)"]
    for name, low in (("up", -45), ("right", 45), ("down", 135), ("left", -135)):
        row(f"  {name}", "", [f"{_quarter(c['head_angle_deg'], low):.0%}" for c in columns.values()])
    row("  unknown", "", [str(c["head_angle_deg"]["unknown"]) for c in columns.values()])
    lines += ["", "joints: seen / hidden / out of frame / unlabelled, %"]
    for joint in next(iter(columns.values()))["joints"]:
        row(f"  {joint}", "", [_percentages(c["joints"][joint]) for c in columns.values()])
    tables = [
        (
            title[:25],
            {s: {v: (n["children"], n["items"]) for v, n in r.items()} for s, r in c["strata"].items()},
            c["counts"]["labelled"],
        )
        for title, c in columns.items()
    ]
    return [*lines, "", *table_lines(tables)]


def document(columns: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The content of stats.json."""
    return {"schema": 1, "imagenet": {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}, "columns": columns}


def _channels(sums: Sequence[ChannelSums]) -> dict[str, Any]:
    pixels = sum(s.pixels for s in sums)
    if not pixels:
        return {"mean": None, "std": None, "pictures": 0}
    mean = np.sum([s.total for s in sums], axis=0) / pixels
    variance = np.sum([s.squares for s in sums], axis=0) / pixels - mean**2
    std = np.sqrt(np.maximum(variance, 0.0))
    return {"mean": (mean / 255.0).tolist(), "std": (std / 255.0).tolist(), "pictures": len(sums)}


def _share(item: Item, person: Person) -> float:
    size = np.array(item.size_wh, dtype=np.float64)
    # An integer coordinate is a pixel's centre, so the frame reaches from -0.5 to size - 0.5.
    low, high = np.clip(person.bbox_xyxy.reshape(2, 2), -0.5, size - 0.5)
    return float(np.prod(high - low) / np.prod(size))


def _spread(values: list[float], edges: np.ndarray | None = None) -> dict[str, Any]:
    if not values:
        return {**dict.fromkeys(_QUANTILES), "mean": None, "edges": [], "counts": []}
    array = np.array(values)
    if edges is None:
        edges = np.arange(0.0, array.max() + SIZE_STEP_PX, SIZE_STEP_PX)
    counts = np.histogram(array, edges)[0]
    spread: dict[str, Any] = {name: float(np.quantile(array, q)) for name, q in _QUANTILES.items()}
    return spread | {"mean": float(array.mean()), "edges": edges.tolist(), "counts": counts.tolist()}


def _visibility(people: Sequence[Person]) -> dict[str, dict[str, int]]:
    shape = (0, len(INFANT))
    seen = np.stack([p.visibility for p in people]) if people else np.zeros(shape, dtype=np.int8)
    outside = np.stack([p.out_of_frame for p in people]) if people else np.zeros(shape, dtype=bool)
    kinds = (~outside & (seen == 2), ~outside & (seen == 1), outside, ~outside & (seen == 0))
    counts = np.stack([kind.sum(axis=0) for kind in kinds])
    return {
        name: dict(zip(VISIBILITY, counts[:, k].tolist(), strict=True)) for k, name in enumerate(INFANT.names)
    }


def _quarter(angles: dict[str, Any], low: float) -> float:
    """Share of the known directions within the quarter turn that starts at ``low``."""
    counts = np.array(angles["counts"], dtype=np.float64)
    centres = (np.array(angles["edges"][1:]) + np.array(angles["edges"][:-1])) / 2
    return float(counts[(centres - low) % 360.0 < 90.0].sum() / max(counts.sum(), 1.0))


def _percentages(row: dict[str, int]) -> str:
    total = max(sum(row.values()), 1)
    return "/".join(f"{100 * row[kind] / total:.0f}" for kind in VISIBILITY)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
