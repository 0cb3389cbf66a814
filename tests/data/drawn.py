"""Small data sets on disk: an infant as a stick figure with a bright blob per joint on a dark frame."""

from __future__ import annotations

import json

import cv2
import numpy as np

from heightpose.skeleton import INFANT

#: A lying infant, head up, in units of its length; x to the picture's right.
_SHAPE = {
    "crown": (0.0, -0.5),
    "head_top": (0.0, -0.5),
    "upper_neck": (0.0, -0.32),
    "thorax": (0.0, -0.25),
    "pelvis": (0.0, 0.02),
    "left_hip": (0.07, 0.02),
    "right_hip": (-0.07, 0.02),
    "left_knee": (0.09, 0.22),
    "right_knee": (-0.09, 0.22),
    "left_ankle": (0.1, 0.42),
    "right_ankle": (-0.1, 0.42),
    "left_heel": (0.12, 0.48),
    "right_heel": (-0.12, 0.48),
    "left_toe": (0.18, 0.46),
    "right_toe": (-0.18, 0.46),
    "left_shoulder": (0.13, -0.22),
    "right_shoulder": (-0.13, -0.22),
    "left_elbow": (0.22, -0.1),
    "right_elbow": (-0.22, -0.1),
    "left_wrist": (0.3, -0.02),
    "right_wrist": (-0.3, -0.02),
}


def infant_kpts(centre_xy, length_px, head_angle_deg, rng=None):
    """``(K, 2)`` frame px; with ``rng`` in a posture of its own."""
    shape = np.array([_SHAPE[n] for n in INFANT.names])
    if rng is not None:
        limbs = [k for k, n in enumerate(INFANT.names) if n.endswith(("knee", "ankle", "elbow", "wrist"))]
        shape[limbs] += rng.uniform(-0.06, 0.06, (len(limbs), 2))
    shape *= length_px
    a = np.deg2rad(head_angle_deg)
    return shape @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + centre_xy


def draw(size_wh, kpts, rng, radius=1.6):
    """A noisy dark frame with a Gaussian blob of its own colour at each joint, to sub-pixel accuracy."""
    width, height = size_wh
    image = rng.uniform(0, 30, (height, width, 3))
    for child, parent in INFANT.edges if len(kpts) else ():
        ends = np.rint(kpts[[child, parent]]).astype(int).tolist()
        cv2.line(image, ends[0], ends[1], (70.0, 70.0, 70.0), 1)
    colours = np.array(
        [[(k * 37) % 200 + 55, (k * 91) % 200 + 55, (k * 53) % 200 + 55] for k in range(len(kpts))]
    )
    for (px, py), colour in zip(kpts, colours, strict=True):
        row = np.exp(-((np.arange(width) - px) ** 2) / (2 * radius**2))
        column = np.exp(-((np.arange(height) - py) ** 2) / (2 * radius**2))
        blob = np.outer(column, row)[..., None]
        image = image * (1 - blob) + colour * blob
    return np.rint(image).astype(np.uint8)


def annotation(number, image_id, kpts, child, visibility=2):
    low, high = kpts.min(axis=0) - 3, kpts.max(axis=0) + 3
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "keypoints": [v for x, y in kpts.tolist() for v in (x, y, visibility)],
        "out_of_frame": [False] * len(kpts),
        "child": child,
        "strata": {"legs": "extended"},
    }


def document(images, annotations, names=INFANT.names):
    return {
        "heightpose": {"schema": 1},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "infant", "keypoints": list(names)}],
    }


def shared_nursery(tmp_path_factory, **counts):
    """A folder with :func:`nursery`, for fixtures of a module or a session; read only."""
    path = tmp_path_factory.mktemp("data") / "set"
    nursery(path, **counts)
    return path


def nursery(folder, train=6, val=2, empty=1, size_wh=(160, 120), seed=0):
    """A data set of drawn infants and empty cots in ``folder``; returns the document as written."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(train + val + 2 * empty):
        split = "train" if i < train or i == train + val else "val"
        name = f"images/{i:06d}.png"
        kpts = np.zeros((0, 2))
        if i < train + val:
            centre = np.array(size_wh) / 2 + rng.uniform(-6, 6, 2)
            kpts = infant_kpts(centre, 90 + rng.uniform(-10, 10), rng.uniform(-180, 180), rng)
            annotations.append(annotation(len(annotations), i, kpts, f"child-{i}"))
        cv2.imwrite(str(folder / name), draw(size_wh, kpts, rng)[..., ::-1])
        images.append({"id": i, "file_name": name, "width": size_wh[0], "height": size_wh[1], "split": split})
    written = document(images, annotations)
    (folder / "annotations.json").write_text(json.dumps(written))
    return written


def rewrite(folder, change):
    """Apply ``change`` to the document in ``folder`` and write it back."""
    path = folder / "annotations.json"
    written = json.loads(path.read_text())
    change(written)
    path.write_text(json.dumps(written))
