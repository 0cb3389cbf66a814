"""Real infants: the photographs of SyRIP with their video, posture and split, as COCO that `data import` reads.

    git clone ... Infant-Postural-Symmetry        # ostadabbas/Infant-Postural-Symmetry on GitHub, 700 photographs
    python eval/real_infants.py Infant-Postural-Symmetry --out syrip
    heightpose data import coco syrip/keypoints.json --out real-infants --skip-bad
    heightpose eval --data real-infants --split test --truth-crops

SyRIP (Huang et al., "Invariant Representation Learning for Infant Pose Estimation with Small Data", FG 2021) labels
the 17 joints of COCO on photographs and video frames of infants that lie, sit, crawl and stand, for non-commercial use.
Its own split is kept: 200 to train with, 500 to test on. Some of the 500 come from videos that the 200 come from too;
they are a stratum of their own ("video: in training"). Frames of one video count as one child in every interval. No
picture is copied.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from heightpose.runtime.atomic import write_json

PICTURES = "data/survey_data/images/SyRIP_700"
LABELS = {
    "train": "data/survey_data/annotations/train200/person_keypoints_train_infant.json",
    "test": "data/survey_data/annotations/validate500/person_keypoints_validate_infant.json",
}
POSTURES = {"Supine": "back", "Prone": "front", "Sitting": "sitting", "Standing": "standing"}


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """The COCO documents of both splits. Raises SystemExit with what to do when the folder is another one."""
    missing = [name for name in LABELS.values() if not (folder / name).is_file()]
    if missing:
        raise SystemExit(f"{folder / missing[0]} is not there: give the checkout of Infant-Postural-Symmetry")
    return {split: json.loads((folder / name).read_text(encoding="utf-8")) for split, name in LABELS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("syrip", type=Path, help="checkout of Infant-Postural-Symmetry")
    parser.add_argument("--out", type=Path, required=True, help="folder for keypoints.json")
    args = parser.parse_args()
    documents = read(args.syrip)
    trained_on = {image.get("image_source") or None for image in documents["train"]["images"]} - {None}
    pictures = Path(os.path.relpath(args.syrip / PICTURES, args.out))
    images: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for split, document in documents.items():
        labelled: dict[int, dict[str, Any]] = {}
        for image in document["images"]:
            video = image.get("image_source") or None
            # The splits are SyRIP's, though they share videos: a child is one within its split.
            labelled[image["id"]] = {
                "image_id": len(images), "child": f"{split} {video or image['file_name']}",
                "strata": {
                    "posture": POSTURES[image["posture"]],
                    "video": "unknown" if video is None else f"{'' if video in trained_on else 'not '}in training",
                },
            }  # fmt: skip
            images.append(
                {
                    "id": len(images), "file_name": (pictures / image["file_name"]).as_posix(),
                    "width": image["width"], "height": image["height"], "split": split,
                }
            )  # fmt: skip
        people += [
            {
                "id": number, "category_id": 1, "iscrowd": 0, "bbox": person["bbox"], "keypoints": person["keypoints"],
                **labelled[person["image_id"]],
            }
            for number, person in enumerate(document["annotations"], len(people))
        ]  # fmt: skip
    names = documents["test"]["categories"][0]["keypoints"]
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(
        args.out / "keypoints.json",
        {
            "images": images,
            "annotations": people,
            "categories": [{"id": 1, "name": "person", "keypoints": names}],
        },
    )
    print(f"{len(images)} pictures with {len(people)} infants in {args.out / 'keypoints.json'}")


if __name__ == "__main__":
    main()
