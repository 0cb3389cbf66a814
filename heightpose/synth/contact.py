"""A contact sheet: random samples of a data set with their joints drawn, so that a person looks at what was made."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from heightpose.report.overlay import draw_joints
from heightpose.runtime.output import write_picture

_TILE = (320, 240)
_TILES, _COLUMNS = 24, 6


def _frame(out: Path, record: dict, kind: str) -> np.ndarray | None:
    stem = f"{record['index']:06d}"
    if kind == "stills":
        picture = cv2.imread(str(out / "images" / f"{stem}.jpg"))
        return None if picture is None else np.ascontiguousarray(picture[..., ::-1])
    import av

    with av.open(str(out / "clips" / f"{stem}.mp4")) as container:
        for k, frame in enumerate(container.decode(video=0)):
            if k == record["frame"]:
                return frame.to_ndarray(format="rgb24")
    return None


def _tile(picture: np.ndarray, record: dict) -> np.ndarray:
    for infant in record["infants"]:
        kpts = np.array(infant["keypoints"])
        draw_joints(picture, kpts[:, :2], hidden=kpts[:, 2] < 2)
    scale = min(_TILE[0] / picture.shape[1], _TILE[1] / picture.shape[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((_TILE[1], _TILE[0], 3), 30, np.uint8)
    y, x = (_TILE[1] - small.shape[0]) // 2, (_TILE[0] - small.shape[1]) // 2
    tile[y : y + small.shape[0], x : x + small.shape[1]] = small
    lengths = ", ".join(f"{i['length_cm']:.1f} cm" for i in record["infants"]) or "empty"
    strata = record["strata"]
    text = f"{record['index']}  {lengths}  {strata['posture']}  {strata['sensor']}  {strata['occlusion']}"
    cv2.putText(tile, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(tile, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def write_contact_sheet(out: Path, kind: str, count: int, *, seed: int) -> Path:
    """Write ``out/contact_sheet.png`` with up to :data:`_TILES` random samples; hidden joints are hollow."""
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.permutation(count)[:_TILES].tolist())
    pictures = []
    for index in chosen:
        records = json.loads((out / "items" / f"{index:06d}.json").read_text())
        record = records[int(rng.integers(len(records)))]
        picture = _frame(out, record, kind)
        if picture is not None:
            pictures.append(_tile(picture, record))
    while len(pictures) % _COLUMNS:
        pictures.append(np.full((_TILE[1], _TILE[0], 3), 30, np.uint8))
    rows = [np.hstack(pictures[k : k + _COLUMNS]) for k in range(0, len(pictures), _COLUMNS)]
    target = out / "contact_sheet.png"
    write_picture(target, np.vstack(rows))
    return target
