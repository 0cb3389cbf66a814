"""The index of a rendered data set: COCO keypoints for its pictures or frames, and the clips' list of truths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heightpose.data.testset import RECIPE, freeze
from heightpose.runtime.atomic import write_json
from heightpose.skeleton import INFANT

if TYPE_CHECKING:
    from heightpose.synth.nursery import Recipe

SCHEMA = 1


def leg_stratum(extended: list[bool], covered: list[bool] | None = None) -> str:
    """A clip's legs: extended in at least 80 % of its frames, mixed in 20-80 %, tucked below.

    Covered when something hides them in most frames.
    """
    share = float(np.mean(extended))
    if covered and float(np.mean(covered)) > 0.5:
        return "covered"
    return "extended" if share >= 0.8 else "mixed" if share >= 0.2 else "tucked"


def coco_labels(records: list[list[dict]], kind: str) -> dict:
    """COCO keypoints of all items' frames, stills or clips."""
    images: list[dict] = []
    annotations: list[dict] = []
    for frames in records:
        for record in frames:
            camera = record["camera"]
            image = {
                "id": len(images),
                "width": camera["width"],
                "height": camera["height"],
                "split": record["split"],
                "strata": record["strata"],
            }
            if kind == "clips":
                image |= {"video": f"clips/{record['index']:06d}.mp4", "frame": record["frame"]}
            else:
                image["file_name"] = f"images/{record['index']:06d}.jpg"
            images.append(image)
            for infant in record["infants"]:
                if infant["bbox_xyxy"] is None:
                    continue
                x0, y0, x1, y1 = infant["bbox_xyxy"]
                # COCO's own evaluation takes an annotation with the id 0 for none.
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                    "area": round((x1 - x0) * (y1 - y0), 1),
                    "keypoints": [v for kpt in infant["keypoints"] for v in (kpt[0], kpt[1], int(kpt[2]))],
                    "num_keypoints": len(infant["keypoints"]),
                    "out_of_frame": infant["out_of_frame"],
                    "child": infant["child"],
                    # Items that were drawn before November 2026 have neither strata of their own nor a head box.
                    "strata": record["strata"] | infant.get("strata", {}),
                }
                if infant.get("head_box_xyxy") is not None:
                    annotation["head_box_xyxy"] = infant["head_box_xyxy"]
                annotations.append(annotation)
    category = {
        "id": 1,
        "name": "infant",
        "keypoints": list(INFANT.names),
        "skeleton": [[child + 1, parent + 1] for child, parent in INFANT.edges],
    }
    return {
        "info": {"description": "heightpose synthetic nursery"},
        "heightpose": {"schema": SCHEMA, "pixels": "0-based, integer = pixel centre"},
        "images": images,
        "annotations": annotations,
        "categories": [category],
    }


def _clips(records: list[list[dict]], folder: Path) -> list[dict]:
    """Entries of ``clips.json``, which are children of one known length: neither empty cots nor twins.

    A clip whose sheet has no tags lists its stored plane instead.
    """
    clips = []
    for frames in records:
        if len(frames[0]["infants"]) != 1:
            continue
        infant = frames[0]["infants"][0]
        name = f"{frames[0]['index']:06d}"
        legs = [r["infants"][0]["leg_extended"] for r in frames]
        hidden = [r["infants"][0]["legs_covered"] for r in frames]
        clip = {
            "id": name,
            "child": infant["child"],
            "video": f"clips/{name}.mp4",
            "camera": f"clips/{name}.camera.json",
            "length_cm": infant["length_cm"],
            "sex": infant["sex"],
            "age_months": infant["age_months"],
            "strata": frames[0]["strata"] | {"legs": leg_stratum(legs, hidden)},
        }
        truth = f"clips/{name}.truth.json"
        if (folder / truth).is_file():
            clip["truth"] = truth
        plane = f"clips/{name}.plane.json"
        clip |= {"plane": plane} if (folder / plane).is_file() else {"sheet": "clips/sheet.yaml"}
        clips.append(clip)
    return clips


def write_index(out: Path, recipe: Recipe, count: int) -> None:
    """Write ``annotations.json`` and, for clips, ``clips.json`` and ``testset.yaml`` with every file's SHA-256."""
    records = [json.loads((out / "items" / f"{i:06d}.json").read_text()) for i in range(count)]
    write_json(out / "annotations.json", coco_labels(records, recipe.kind))
    if recipe.kind != "clips":
        return
    write_json(out / "clips.json", _clips(records, out))
    if (out / RECIPE).is_file():  # a recorded set: whoever renders it again compares with its manifest
        return
    # The renderer goes on where it stopped and may add clips: its folder is not frozen before it is done.
    freeze(out, f"nursery-{recipe.seed}", 1, replace=True)
