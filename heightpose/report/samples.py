"""Training samples drawn as a grid, with their labels and the names of what varied them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.config import TrainConfig
from heightpose.data.coco import Dataset
from heightpose.data.detector_samples import DetectorSample, DetectorSamples
from heightpose.data.pictures import Pictures
from heightpose.data.samples import PoseSample, PoseSamples
from heightpose.errors import FileFormatError
from heightpose.report.overlay import draw_joints
from heightpose.runtime.atomic import atomic_path

_SIDE = 256
_LINE = 13
_LINES = 3
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_preview(
    dataset: Dataset, config: TrainConfig, out: Path, *, count: int, seed: int, detector: bool
) -> int:
    """Write a PNG of ``count`` varied samples of the split 'train' (of all where there is none).

    Returns:
        how many were drawn.

    Raises:
        FileFormatError: the data set has no labelled picture.
        HeightposeError: a picture that cannot be read, or ``out`` cannot be written.
    """
    items = [item for item in dataset.items if item.split == "train"] or list(dataset.items)
    rng = np.random.default_rng(seed)
    # Only as many pictures as are shown: others serve no purpose beyond lending occluders.
    chosen = rng.permutation(len(items))[: max(count, 8)]
    pictures = Pictures([items[k] for k in chosen], config.data.memory_mb, config.data.skip_bad)
    width, height = config.pose.input_wh
    samples: PoseSamples | DetectorSamples
    if detector:
        samples = DetectorSamples(pictures, config.augment, dataset.skeleton)
    else:
        codec = HeatmapCodec((width, height), (width // 4, height // 4), config.pose.sigma)
        samples = PoseSamples(pictures, codec, config.augment, dataset.skeleton)
    if not len(samples):
        raise FileFormatError(
            "no labelled picture to show", where=dataset.path, hint="Check it with heightpose data validate"
        )
    cells = []
    for k in tqdm(range(count), desc="samples", disable=None):
        sample = samples.sample(k % len(samples), rng)
        cells.append(_pose_cell(sample) if isinstance(sample, PoseSample) else _detector_cell(sample))
    _write(out, _grid(cells))
    return count


def _pose_cell(sample: PoseSample) -> np.ndarray:
    """The plain crop and, beside it, the labels on it."""
    zoom = _SIDE / max(sample.image.shape[:2])
    plain = _enlarged(sample.image, zoom)
    labelled = plain.copy()
    # draw_joints draws every joint; those not labelled go where nobody sees them, with their bones.
    kpts = (sample.kpts_crop + 0.5) * zoom - 0.5
    if (sample.visibility > 0).all():
        draw_joints(labelled, kpts, hidden=sample.visibility < 2, scale=0.6)
    else:
        known = sample.visibility > 0
        for point, seen in zip(kpts[known], sample.visibility[known], strict=True):
            at = np.clip(np.rint(point), -4096, 4096).astype(int).tolist()
            cv2.circle(labelled, at, 3, (255, 255, 255), -1 if seen == 2 else 1, cv2.LINE_AA)
    return _captioned(np.hstack([plain, labelled]), sample.operations)


def _detector_cell(sample: DetectorSample) -> np.ndarray:
    zoom = _SIDE / max(sample.image.shape[:2])
    picture = _enlarged(sample.image, zoom)
    for box, angle in zip(sample.boxes_xyxy_in, sample.angles_deg, strict=True):
        x0, y0, x1, y1 = np.rint((box + 0.5) * zoom - 0.5).astype(int).tolist()
        cv2.rectangle(picture, (x0, y0), (x1, y1), (110, 220, 110), 1, cv2.LINE_AA)
        middle, turn = np.array([x0 + x1, y0 + y1]) / 2, np.deg2rad(angle)
        head = middle + min(x1 - x0, y1 - y0) / 2 * np.array([np.sin(turn), -np.cos(turn)])
        ends = np.rint([middle, head]).astype(int).tolist()
        cv2.arrowedLine(picture, ends[0], ends[1], (255, 150, 30), 1, cv2.LINE_AA, tipLength=0.2)
    return _captioned(picture, sample.operations)


def _enlarged(image: np.ndarray, zoom: float) -> np.ndarray:
    size = (round(image.shape[1] * zoom), round(image.shape[0] * zoom))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _captioned(picture: np.ndarray, operations: tuple[str, ...]) -> np.ndarray:
    """With what varied it on lines below."""
    below = np.full((_LINE * _LINES + 4, picture.shape[1], 3), 24, np.uint8)
    lines, line = [], ""
    for name in operations or ("not varied",):
        joined = f"{line}, {name}" if line else name
        if line and cv2.getTextSize(joined, _FONT, 0.4, 1)[0][0] > picture.shape[1] - 8:
            lines.append(line + ",")
            joined = name
        line = joined
    for k, text in enumerate([*lines, line][:_LINES]):
        cv2.putText(below, text, (4, _LINE * (k + 1)), _FONT, 0.4, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([picture, below])


def _grid(cells: list[np.ndarray]) -> np.ndarray:
    """Cells of one size in rows, with a little room between."""
    height, width = np.max([cell.shape[:2] for cell in cells], axis=0)
    columns = max(1, min(len(cells), round(np.sqrt(len(cells) * 1.6 * height / width))))
    rows = -(-len(cells) // columns)
    page = np.full((rows * (height + 4), columns * (width + 4), 3), 60, np.uint8)
    for k, cell in enumerate(cells):
        y, x = k // columns * (height + 4), k % columns * (width + 4)
        page[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    return page


def _write(out: Path, rgb: np.ndarray) -> None:
    encoded = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    with atomic_path(out) as tmp:
        tmp.write_bytes(encoded)
