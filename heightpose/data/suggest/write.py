"""The picks as files: pictures, pre-annotations for CVAT and for Label Studio, and what each was picked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from heightpose.data.coco import Dataset
from heightpose.data.export import export_coco
from heightpose.data.items import Item, Person
from heightpose.data.suggest.back import RECORD, SCHEMA
from heightpose.data.suggest.doubt import SIGNALS
from heightpose.data.suggest.label_studio import config_xml, task
from heightpose.data.suggest.run import Pick
from heightpose.errors import ConfigError, FileFormatError
from heightpose.geometry.crop import within_frame
from heightpose.geometry.in_view import seen_of
from heightpose.runtime.atomic import atomic_path, make_folder, write_csv, write_json, write_text
from heightpose.runtime.refine import detection_around
from heightpose.runtime.video import open_clip
from heightpose.skeleton import INFANT

#: A joint the model is less sure of is handed over as hidden, where it does not tell how likely it is to be seen.
_UNSURE = 0.3


def write_picks(out: Path, picks: Sequence[Pick], about: dict[str, Any], *, jpeg: bool = False) -> list[Item]:
    """Write everything but the contact sheet; returns the pre-annotated pictures, one per pick.

    Args:
        about: what made the choice (model, seed, ...), for the record.
        jpeg: JPEG of quality 95 instead of PNG, a fifth of the size.

    Raises:
        ConfigError: the folder holds suggestions already.
        HeightposeError: the folder cannot be written.
    """
    if (out / RECORD).exists():
        raise ConfigError("there are suggestions already", where=out, hint="Choose another --out")
    make_folder(out / "images")
    paths = [out / "images" / p.clip / f"{p.frame:06d}.{'jpg' if jpeg else 'png'}" for p in picks]
    sizes = _write_pictures(picks, paths)
    items = [
        _item(n, p, path, size) for n, (p, path, size) in enumerate(zip(picks, paths, sizes, strict=True), 1)
    ]
    export_coco(Dataset(out / "annotations.json", tuple(items)), out, pictures=False)
    names = [path.relative_to(out).as_posix() for path in paths]
    tasks = [task(i, n, _about(p)) for i, n, p in zip(items, names, picks, strict=True)]
    write_json(out / "label-studio.json", tasks)
    write_text(out / "label-studio-config.xml", config_xml())
    rows = [_about(p) | {"file": n, "rank": k} for k, (n, p) in enumerate(zip(names, picks, strict=True), 1)]
    write_json(out / RECORD, {"schema": SCHEMA, **about, "picks": rows})
    columns = ["rank", "file", "source", "frame", "t_s", "doubt", *SIGNALS, "advised", "why", "strata"]
    write_csv(out / "suggestions.csv", [_csv_row(row) for row in rows], columns)
    return items


def _write_pictures(picks: Sequence[Pick], paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Each clip is read once more, in sequence: the frames were not kept while choosing."""
    wanted: dict[Path, dict[int, int]] = defaultdict(dict)
    for place, pick in enumerate(picks):
        wanted[pick.source][pick.frame] = place
    sizes: dict[int, tuple[int, int]] = {}
    for source, frames in tqdm(wanted.items(), desc="writing", unit="clip", disable=None):
        with open_clip(source) as clip:
            for frame in clip.frames():
                number = frames.get(frame.index)
                if number is not None:
                    paths[number].parent.mkdir(parents=True, exist_ok=True)
                    with atomic_path(paths[number]) as tmp:
                        tmp.write_bytes(_encoded(frame.rgb, paths[number].suffix))
                    sizes[number] = (frame.rgb.shape[1], frame.rgb.shape[0])
                if frame.index >= max(frames):
                    break
    missing = [n for n in range(len(picks)) if n not in sizes]
    if missing:
        raise FileFormatError(
            "the video is shorter than it was",
            where=picks[missing[0]].source,
            got=f"no frame {picks[missing[0]].frame}",
        )
    return [sizes[n] for n in range(len(picks))]


def _encoded(rgb: np.ndarray, suffix: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if suffix == ".jpg" else []
    return cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]), options)[1].tobytes()


def _item(number: int, pick: Pick, path: Path, size_wh: tuple[int, int]) -> Item:
    pose = pick.look.pose
    if pose is None:
        return Item(number, path, None, size_wh, None, (), recording_sha256=pick.recording_sha256)
    # Off the picture nobody can place a joint: left for the annotator to add where it is in view after all.
    inside: np.ndarray = np.asarray(
        ((pose.kpts_frame >= -0.5) & (pose.kpts_frame < np.array(size_wh) - 0.5)).all(axis=1)
    )
    # Where the model says how likely a joint is to be visible that decides, else how sure it is of it at all.
    seen = seen_of(pose)
    clear = pose.scores >= _UNSURE if seen is None else seen >= 0.5
    visibility = np.where(inside, np.where(clear, 2, 1), 0).astype(np.int8)
    kpts = np.where(inside[:, None], pose.kpts_frame, 0.0)
    box = within_frame(detection_around(pose).bbox_xyxy, size_wh)
    if box is None:
        return Item(number, path, None, size_wh, None, (), recording_sha256=pick.recording_sha256)
    nowhere = np.zeros(len(INFANT), dtype=bool)
    # All frames of a clip show one child: they must never be split into train and val.
    person = Person(kpts, visibility, nowhere, box, pick.child, dict(pick.given))
    in_view = pick.look.result.infants if pick.look.result.infants > 1 else None
    return Item(
        number, path, None, size_wh, None, (person,), in_view, recording_sha256=pick.recording_sha256
    )  # fmt: skip


def _about(pick: Pick) -> dict[str, Any]:
    return {
        "clip": pick.clip, "child": pick.child, "recording_sha256": pick.recording_sha256, "source": pick.source.name,
        "frame": pick.frame, "t_s": round(pick.t_s, 3), "doubt": round(pick.doubt, 4),
        "signals": {k: None if v is None else round(v, 4) for k, v in pick.signals.items()},
        "strata": pick.strata, "given": pick.given, "why": list(pick.why), "advised": pick.wish,
    }  # fmt: skip


def _csv_row(row: dict[str, Any]) -> dict[str, Any]:
    strata = "; ".join(f"{k} {v}" for k, v in row["strata"].items())
    return {**row, **row["signals"], "why": "; ".join(row["why"]), "strata": strata}
