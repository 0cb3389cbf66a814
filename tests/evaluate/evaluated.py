"""Records and tiny test sets whose figures can be worked out by hand."""

from __future__ import annotations

import json

import cv2
import makers
import numpy as np
from straight import body

from heightpose.data.testset import freeze
from heightpose.evaluate.records import ClipRecord, FrameRecord, Guess, Truth
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
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


def clip(name, child, error, *, truth=65.0, half=1.0, strata=None, sex="female", age=6.0, refused=None):
    """A clip measured ``error`` cm off; None is a rejected one, whose length was ``refused`` cm off if it had one."""
    measured = None if error is None else truth + error
    interval = None if measured is None else [measured - half, measured + half]
    return ClipRecord(
        name, child, f"{name}.mp4", truth, measured, interval, 0.9, ["legs_not_seen"] if error is None else [], 10, 6,
        sex, age, dict(strata or {}), unreported_cm=None if refused is None else truth + refused,
    )  # fmt: skip


def spot_set(folder):
    """A frozen set that the tiny networks of ``makers`` can be judged on: every joint is found on the white spot.

    Pictures: three infants with the spot on their crown and knee and the neck 24 px away (crown and knee right, neck
    one head size off; beside the third another is in view), one whose picture is dark (missed), one empty cot. Clips:
    one of 6 frames without a length to be had, its frames 1 and 4 labelled.
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
            | ({"infants_in_view": i} if i in (1, 2) else {})
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


CLIP_WH = (640, 480)
CLIP_K = [[520.0, 0.0, 319.5], [0.0, 520.0, 239.5], [0.0, 0.0, 1.0]]


def plane_at(height_cm: float) -> Plane:
    R = np.diag([1.0, -1.0, -1.0])
    return Plane(R=R, t_cm=-R @ np.array([0.0, 0.0, height_cm]))


def known_clip(folder):
    """One clip of four empty frames, its labels exact, its plane file 5 % too high; frozen."""
    camera, plane, joints = Camera("pinhole", CLIP_WH, np.array(CLIP_K), np.zeros(5)), plane_at(150.0), body()
    kpts = plane.to_frame(camera, joints)
    makers.write_video(folder / "clip.mp4", [np.zeros((*CLIP_WH[::-1], 3), np.uint8)] * 4)
    (folder / "camera.json").write_text(json.dumps(camera.to_dict()))
    for name, height in (("plane", 157.5), ("truth", 150.0)):
        wrong = plane_at(height)
        extra = {"joints_cm": [joints.tolist()] * 4} if name == "truth" else {}
        document = {"R": wrong.R.tolist(), "t_cm": wrong.t_cm.tolist()} | extra
        (folder / f"{name}.json").write_text(json.dumps(document))
    low, high = kpts.min(axis=0) - 5, kpts.max(axis=0) + 5
    images = [{"id": i, "video": "clip.mp4", "frame": i, "width": CLIP_WH[0], "height": CLIP_WH[1], "split": "test"}
              for i in range(4)]  # fmt: skip
    labels = [
        {"id": i, "image_id": i, "category_id": 1, "child": "a", "bbox": [*low.tolist(), *(high - low).tolist()],
         "keypoints": [v for x, y in kpts.tolist() for v in (x, y, 2)]}
        for i in range(4)
    ]  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps({
        "heightpose": {"schema": 1}, "images": images, "annotations": labels,
        "categories": [{"id": 1, "name": "infant", "keypoints": list(INFANT.names)}]}))  # fmt: skip
    clip = {"id": "one", "child": "a", "video": "clip.mp4", "camera": "camera.json", "plane": "plane.json",
            "truth": "truth.json", "length_cm": 68.0, "sex": "female", "age_months": 6, "strata": {}}  # fmt: skip
    (folder / "clips.json").write_text(json.dumps([clip]))
    assert "truth.json" in freeze(folder, "split", 1).files
