"""The nursery's production line: writes stills and clips, item by item, resumable.

Every item depends on (seed, index) alone, is written atomically, and is skipped when it is already there, so an
interrupted run goes on where it stopped and two cores give the same files as one. Processors with AVX-512 give the same
bytes; those without round sums and roots otherwise, and last digits and some pixels differ.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np

from heightpose.errors import ConfigError
from heightpose.runtime.atomic import atomic_path, make_folder, write_json, write_text
from heightpose.runtime.processes import side_by_side
from heightpose.synth.nursery import Nursery, Recipe
from heightpose.synth.scenario import Options

#: What a data set keeps under names of ours.
_OURS = ("annotations.json", "clips.json", "images", "clips", "items")
_worker: Nursery | None = None


def _start_worker(recipe: Recipe) -> None:
    global _worker
    _worker = Nursery(recipe)


def _run_item(args: tuple[int, str]) -> int:
    index, out = args
    assert _worker is not None
    writer = write_clip if _worker.recipe.kind == "clips" else write_still
    writer(_worker, index, Path(out))
    return index


def write_still(nursery: Nursery, index: int, out: Path) -> None:
    """Render one still: ``images/NNNNNN.jpg`` and ``items/NNNNNN.json``; the JSON is written last."""
    import cv2

    image, record = next(nursery.item(index))
    quality = int(np.random.default_rng([nursery.recipe.seed, index, 4]).integers(45, 97))
    with atomic_path(out / "images" / f"{index:06d}.jpg") as tmp:
        cv2.imwrite(str(tmp), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    write_json(out / "items" / f"{index:06d}.json", [record])


def write_clip(nursery: Nursery, index: int, out: Path) -> None:
    """Render one clip: ``clips/NNNNNN.mp4`` (H.264), its camera and truth; ``items/NNNNNN.json`` is written last."""
    from heightpose.runtime.video_writer import open_video_writer

    name = f"{index:06d}"
    frames = nursery.item(index)
    image, record = next(frames)
    records = [record]
    size_wh = (image.shape[1], image.shape[0])
    fps = Fraction(nursery.recipe.fps).limit_denominator(1001)
    with open_video_writer(out / "clips" / f"{name}.mp4", size_wh, fps, reproducible=True) as writer:
        writer.write(image, record["t_s"])
        for image, record in frames:
            writer.write(image, record["t_s"])
            records.append(record)
    write_json(out / "clips" / f"{name}.camera.json", record["camera"])
    if len(record["infants"]) == 1:  # what only the renderer knows, to tell where errors come from
        joints = [r["infants"][0]["joints_cm"] for r in records]
        write_json(out / "clips" / f"{name}.truth.json", record["plane"] | {"joints_cm": joints})
    if not record["tagged"]:  # nothing in the picture says where the mattress is
        write_json(out / "clips" / f"{name}.plane.json", record["plane"])
    write_json(out / "items" / f"{name}.json", records)


def generate(recipe: Recipe, out: Path, count: int, jobs: int) -> None:
    """Render items ``0 .. count-1`` into ``out`` with ``jobs`` processes, then write the data set's index.

    Raises:
        ConfigError: ``out`` holds items of another recipe, or another data set.
        InputError: the folder of textures cannot be used.
    """
    from tqdm import tqdm

    from heightpose.synth.contact import write_contact_sheet
    from heightpose.synth.index import write_index

    wanted = recipe.to_dict()
    make_folder(out)
    stored = out / "recipe.json"
    if stored.exists() and _recipe_in(stored) != wanted:
        raise ConfigError(
            "this folder holds items of another recipe",
            where=out,
            hint="Choose an empty folder, or the same options",
        )
    if not stored.exists():
        _require_no_other_set(out)
    for folder in ("items", "clips" if recipe.kind == "clips" else "images"):
        (out / folder).mkdir(exist_ok=True)
    write_json(stored, wanted)
    if recipe.sheet is not None and recipe.kind == "clips":
        write_text(out / "clips" / "sheet.yaml", Path(recipe.sheet).read_text(encoding="utf-8"))
    todo = [i for i in range(count) if not (out / "items" / f"{i:06d}.json").exists()]
    if todo:
        done = side_by_side(_run_item, [(i, str(out)) for i in todo], jobs, _start_worker, recipe)
        unit = "clip" if recipe.kind == "clips" else "picture"
        for _ in tqdm(
            done, total=count, initial=count - len(todo), unit=unit, desc="rendering", smoothing=0.05
        ):
            pass
    write_index(out, recipe, count)
    write_contact_sheet(out, recipe.kind, count, seed=recipe.seed)


def _recipe_in(path: Path) -> dict:
    """The recipe of a folder; options that came later were at their defaults when it was rendered."""
    recipe = json.loads(path.read_text())
    return recipe | {"options": json.loads(json.dumps(asdict(Options()))) | recipe.get("options", {})}


def _require_no_other_set(out: Path) -> None:
    """Rendering would write over labels and pictures that did not come from here."""
    for path in (out / name for name in _OURS):
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise ConfigError(
                "this folder holds another data set", where=path, hint="Choose an empty folder for --out"
            )
