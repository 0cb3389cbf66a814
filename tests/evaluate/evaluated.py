"""Records and tiny test sets whose figures can be worked out by hand."""

from __future__ import annotations

import json

import cv2
import makers
import numpy as np

from heightpose.data.testset import freeze
from heightpose.evaluate.records import ClipRecord, FrameRecord, Guess, Truth
from heightpose.skeleton import INFANT

K = len(INFANT)
HEAD = 40.0
SIZE = (160, 120)
BOX = [20.0, 20.0, 120.0, 100.0]


def true_kpts(seed=0):
    """Joints inside the box; the head is 40 px long."""
    kpts = np.random.default_rng(seed).uniform(40, 90, (K, 2))
    kpts[INFANT.index("crown")] = kpts[INFANT.index("upper_neck")] + [HEAD, 0.0]
    return kpts


def frame(
    name, child, *, off=0.0, found=True, hidden=(), strata=None, seed=0, crop=None, people=1, score=0.9
):
    """A frame in which every joint is ``off`` head sizes away from where it is."""
    kpts = true_kpts(seed)
    visibility = [1 if n in hidden else 2 for n in INFANT.names]
    truth = Truth(
        child, BOX, kpts.tolist(), visibility, HEAD, dict(strata or {}),
        None if crop is None else (kpts + [0.0, crop * HEAD]).tolist(),
    )  # fmt: skip
    pred = kpts + [0.0, off * HEAD]
    guess = Guess(BOX, 0.0, score, pred.tolist(), [0.8] * K, 0, 1.0) if found else None
    others = [Truth(f"{child}-{i}", [300.0, 20.0, 400.0, 90.0], kpts.tolist(), visibility, HEAD, dict(strata or {}))
              for i in range(1, people)]  # fmt: skip
    return FrameRecord(name, None, "test", [truth, *others], guess, 1 if found else 0)


def clip(name, child, error, *, truth=65.0, half=1.0, strata=None, sex="female", age=6.0):
    """A clip measured ``error`` cm off; None is a rejected one."""
    measured = None if error is None else truth + error
    interval = None if measured is None else [measured - half, measured + half]
    return ClipRecord(
        name, child, f"{name}.mp4", truth, measured, interval, 0.9, ["legs_not_seen"] if error is None else [], 10, 6,
        sex, age, dict(strata or {}),
    )  # fmt: skip


def spot_set(folder):
    """A frozen set that the tiny networks of ``makers`` can be judged on: every joint is found on the white spot.

    Pictures: three infants with the spot on their crown and knee and the neck 24 px away (crown and knee right, neck
    one head size off), one whose picture is dark (missed), one empty cot. Clips: one of 6 frames without a length to
    be had, its frames 1 and 4 labelled.
    """
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []

    def label(image, spot, child, **strata):
        named = {"crown": spot, "left_knee": spot, "upper_neck": (spot[0], spot[1] + 24)}
        flat = [v for n in INFANT.names for v in ((*named[n], 2) if n in named else (0, 0, 0))]
        annotations.append(
            {
                "id": len(annotations), "image_id": image, "category_id": 1, "child": child, "strata": strata,
                "bbox": [spot[0] - 38, spot[1] - 38, 76, 76], "keypoints": flat,
            }
        )  # fmt: skip

    for i, spot in enumerate([(60, 50), (90, 60), (70, 70), None, None]):
        picture = np.zeros((*SIZE[::-1], 3), np.uint8) if spot is None else makers.scene(SIZE, spot)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), picture)
        images.append(
            {"id": i, "file_name": f"images/{i}.png", "width": SIZE[0], "height": SIZE[1], "split": "test"}
        )
        if i < 4:
            label(i, spot or (80, 60), f"child-{i}", lit="dark" if spot is None else "bright")
    makers.write_video(folder / "clip.mp4", [makers.scene(SIZE, (60 + 2 * i, 50)) for i in range(6)])
    for number in (1, 4):
        images.append({"id": 10 + number, "video": "clip.mp4", "frame": number, "width": SIZE[0], "height": SIZE[1],
                       "split": "test"})  # fmt: skip
        label(10 + number, (60 + 2 * number, 50), "child-clip", lit="bright")
    document = {"heightpose": {"schema": 1}, "images": images, "annotations": annotations,
                "categories": [{"id": 1, "name": "infant", "keypoints": list(INFANT.names)}]}  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(document))
    k = [[200.0, 0.0, 79.5], [0.0, 200.0, 59.5], [0.0, 0.0, 1.0]]
    camera = {"model": "pinhole", "width": SIZE[0], "height": SIZE[1], "K": k, "dist": [0] * 5}
    (folder / "camera.json").write_text(json.dumps(camera))
    plane = {"R": [[1, 0, 0], [0, -1, 0], [0, 0, -1]], "t_cm": [0, 0, 150]}
    (folder / "plane.json").write_text(json.dumps(plane))
    entry = {"id": "one", "child": "child-clip", "video": "clip.mp4", "camera": "camera.json", "plane": "plane.json",
             "length_cm": 65.0, "sex": "female", "age_months": 6, "strata": {"lit": "bright"}}  # fmt: skip
    (folder / "clips.json").write_text(json.dumps([entry]))
    return freeze(folder, "spots", 1)
