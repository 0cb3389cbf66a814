"""Tiny sources in other people's formats, all of the same three pictures and known joints."""

from __future__ import annotations

import json

import cv2
import numpy as np
import scipy.io

SIZE_WH = (96, 64)
LSP_NAMES = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "upper_neck", "head_top",
)  # fmt: skip
MPII_NAMES = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
    "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
    "left_wrist",
)  # fmt: skip
COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip


def pictures(folder, names):
    """Pictures of noise, each its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(names))
    for name in names:
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (SIZE_WH[1], SIZE_WH[0], 3), dtype=np.uint8))


def points(names, seed):
    """Joint -> (x, y) inside the picture, with fractions."""
    rng = np.random.default_rng(seed)
    return {
        n: tuple(np.round(rng.uniform((4, 4), (SIZE_WH[0] - 8, SIZE_WH[1] - 8)), 2).tolist()) for n in names
    }


def lspet(folder, absent=(2, 5), count=3):
    """14x3xN with visibility flags; ``absent`` joints are off the picture with flag 0. Returns the truth."""
    pictures(folder / "images", [f"im{i + 1:05d}.jpg" for i in range(count)])
    table, truth = np.zeros((14, 3, count)), []
    for i in range(count):
        known = points(LSP_NAMES, i)
        for k, name in enumerate(LSP_NAMES):
            table[k, :, i] = (-7.5, 0, 0) if k in absent else (*known[name], 1)
        truth.append({n: (*known[n], 2) for k, n in enumerate(LSP_NAMES) if k not in absent})
    scipy.io.savemat(folder / "joints.mat", {"joints": table}, do_compression=True)
    return truth


def lsp(folder, occluded=(2, 5), count=3):
    """3x14xN whose third row says occluded."""
    pictures(folder / "images", [f"im{i + 1:04d}.jpg" for i in range(count)])
    table, truth = np.zeros((3, 14, count)), []
    for i in range(count):
        known = points(LSP_NAMES, i)
        for k, name in enumerate(LSP_NAMES):
            table[:, k, i] = (*known[name], k in occluded)
        truth.append({n: (*known[n], 1 if k in occluded else 2) for k, n in enumerate(LSP_NAMES)})
    scipy.io.savemat(folder / "joints.mat", {"joints": table}, do_compression=True)
    return truth


def _structs(rows):
    """A 1xN MATLAB struct array."""
    fields = list(dict.fromkeys(k for row in rows for k in row))
    array = np.zeros((1, len(rows)), dtype=[(f, object) for f in fields])
    for i, row in enumerate(rows):
        for f in fields:
            array[0, i][f] = row.get(f, np.zeros((0, 0)))
    return array


def mpii_mat(folder, change=lambda rects: None):
    """The release's deep struct: picture 0 two people and one without joints, 1 one person, 2 withheld.

    Returns the truth per person, 0-based: joints, head box, centre and scale.
    """
    pictures(folder / "images", ["a.jpg", "b.jpg", "c.jpg"])
    truth, rects = [], []
    for seed in range(3):
        known = points(MPII_NAMES, seed)
        rows, labelled = [], {}
        for k, name in enumerate(MPII_NAMES):
            if k == seed:  # not annotated
                continue
            visible = {8: np.zeros((0, 0)), 9: "", 0: "1", 1: 0, 3: "0"}.get(k, 1)
            rows.append({"x": known[name][0] + 1, "y": known[name][1] + 1, "id": k, "is_visible": visible})
            labelled[name] = (*known[name], 1 if k in (1, 3) else 2)
        head = [10.0 + seed, 5.0, 22.0, 20.5]
        rect = {
            **dict(zip(("x1", "y1", "x2", "y2"), [v + 1 for v in head], strict=True)),
            "annopoints": {"point": _structs(rows)},
            "scale": 0.25,
            "objpos": {"x": 41.0, "y": 31.0 + seed},
        }
        rects.append(rect)
        truth.append({"joints": labelled, "head": head, "box": [15.0, 5.0 + seed, 65.0, 55.0 + seed]})
    change(rects)
    nobody = {"x1": 3, "y1": 3, "x2": 9, "y2": 9, "annopoints": np.zeros((0, 0))}
    annolist = _structs(
        [
            {"image": {"name": "a.jpg"}, "annorect": _structs([rects[0], nobody, rects[1]])},
            {"image": {"name": "b.jpg"}, "annorect": rects[2]},
            {"image": {"name": "c.jpg"}, "annorect": {"scale": 1.0}},
        ]
    )
    release = {"annolist": annolist, "img_train": np.array([[1, 1, 0]]), "version": "12"}
    scipy.io.savemat(folder / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release}, do_compression=True)
    return [truth[:2], truth[2:]]


def mpii_json(folder):
    """HRNet's train.json and valid.json with gt_valid.mat; returns the truth of train and of valid."""
    pictures(folder / "images", ["a.jpg", "b.jpg"])
    (folder / "annot").mkdir()
    truth = []
    for name, image, seed in (("train", "a.jpg", 0), ("valid", "b.jpg", 1)):
        known = points(MPII_NAMES, seed)
        entry = {
            "image": image,
            "joints": [
                [-1.0, -1.0] if k == 4 else [v + 1 for v in known[n]] for k, n in enumerate(MPII_NAMES)
            ],
            "joints_vis": [int(k != 4) for k in range(16)],
            "center": [41.0, 31.0],
            "scale": 0.2,
        }
        (folder / "annot" / f"{name}.json").write_text(json.dumps([entry]))
        joints = {n: (*known[n], 2) for k, n in enumerate(MPII_NAMES) if k != 4}
        truth.append({"joints": joints, "box": [20.0, 10.0, 60.0, 50.0], "head": None})
    heads = np.array([[11.0, 6.0], [23.0, 22.0]])[:, :, None]
    scipy.io.savemat(folder / "annot" / "gt_valid.mat", {"headboxes_src": heads}, do_compression=True)
    truth[1]["head"] = [10.0, 5.0, 22.0, 21.0]
    return truth


def coco17(folder, split="train", change=lambda document: None):
    """COCO's own layout with 17 joints: two pictures with an infant each, the second beside a crowd, one empty."""
    pictures(folder / "images", ["a.jpg", "b.jpg", "c.jpg"])
    (folder / "annotations").mkdir(exist_ok=True)
    images = [
        {"id": 10 + i, "file_name": n, "width": SIZE_WH[0], "height": SIZE_WH[1]}
        for i, n in enumerate(["a.jpg", "b.jpg", "c.jpg"])
    ]
    annotations, truth = [], []
    for i in range(2):
        known = points(COCO_NAMES, i)
        seen = {n: k % 3 for k, n in enumerate(COCO_NAMES)}
        flat = [v for n in COCO_NAMES for v in ((*known[n], seen[n]) if seen[n] else (0, 0, 0))]
        annotations.append(
            {
                "id": 70 + i, "image_id": 10 + i, "category_id": 1, "iscrowd": 0, "bbox": [3.5, 2, 80.25, 55],
                "area": 4000, "num_keypoints": 11, "keypoints": flat, "segmentation": [],
            }
        )  # fmt: skip
        truth.append({n: (*known[n], seen[n]) for n in COCO_NAMES[5:] if seen[n]})
    crowd = {
        "id": 90,
        "image_id": 11,
        "category_id": 1,
        "iscrowd": 1,
        "bbox": [0, 0, 9, 9],
        "keypoints": [0] * 51,
    }
    document = {
        "images": images,
        "annotations": [*annotations, crowd],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_NAMES), "skeleton": []}],
    }
    change(document)
    (folder / "annotations" / f"person_keypoints_{split}2017.json").write_text(json.dumps(document))
    return truth


MAP = "nose: null\nTop: crown\nLHeel: left_heel\nRHeel: right_heel\n7: pelvis\n"
THEIRS = {"Top": "crown", "LHeel": "left_heel", "RHeel": "right_heel", "7": "pelvis"}


def labelme(folder):
    """A JSON per picture: two grouped infants, one without group and box, none."""
    pictures(folder, ["a.png", "b.png", "c.png"])
    truth = []
    for number, groups in enumerate(([1, 2], [None], [])):
        shapes, people = [], []
        for group in groups:
            known = points(THEIRS.values(), 10 * number + (group or 0))
            for theirs, ours in THEIRS.items():
                if group == 2 and ours == "pelvis":
                    continue
                shapes.append(
                    {
                        "label": theirs, "points": [list(known[ours])], "group_id": group, "shape_type": "point",
                        "flags": {"hidden": True} if ours == "left_heel" else {},
                    }
                )  # fmt: skip
            shapes.append({"label": "nose", "points": [[1, 1]], "group_id": group, "shape_type": "point"})
            if group is not None:
                box = [[90, 60], [2, 1.5]] if group == 1 else [[2, 1.5], [80, 50]]
                shapes.append(
                    {"label": "infant", "points": box, "group_id": group, "shape_type": "rectangle"}
                )
            people.append({n: (*known[n], 1 if n == "left_heel" else 2) for n in THEIRS.values()})
            if group == 2:
                del people[-1]["pelvis"]
        name = "abc"[number]
        document = {
            "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None,
            "imageWidth": SIZE_WH[0], "imageHeight": SIZE_WH[1],
        }  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(document))
        truth.append(people)
    (folder / "joints.yaml").write_text(MAP)
    return truth


def cvat(folder):
    """CVAT for images 1.1: a skeleton with boxes and attributes, single points in two groups, nothing."""
    pictures(folder / "images", ["a.png", "b.png", "c.png"])
    first, second, third = (points(THEIRS.values(), seed) for seed in (1, 2, 3))

    def point(theirs, known, extra="", group=""):
        x, y = known[THEIRS[theirs]]
        return f'<points label="{theirs}" source="manual" {extra} points="{x:.2f},{y:.2f}" {group}></points>'

    skeleton = (
        point("Top", first, 'outside="0" occluded="0"')
        + point("LHeel", first, 'outside="0" occluded="1"')
        + point("RHeel", first, 'outside="1" occluded="0"')
    )
    image = '<image id="{}" name="{}.png" width="96" height="64">{}</image>'
    one = (
        f'<skeleton label="infant" z_order="0">{skeleton}<attribute name="child">ada</attribute>'
        '<attribute name="posture">back</attribute></skeleton>'
        '<box label="infant" occluded="0" xtl="2.00" ytl="3.00" xbr="90.50" ybr="60.00" z_order="0"></box>'
        '<box label="head_box" occluded="0" xtl="2.00" ytl="3.00" xbr="20.50" ybr="30.00" z_order="0"></box>'
    )
    two = "".join(
        point(n, known, 'occluded="0"', f'group_id="{g}"')
        for g, known in ((4, second), (5, third))
        for n in THEIRS
    )
    body = image.format(0, "a", one) + image.format(1, "b", two) + image.format(2, "c", "")
    (folder / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{body}</annotations>'
    )
    (folder / "joints.yaml").write_text(MAP)
    return [
        [{"crown": (*first["crown"], 2), "left_heel": (*first["left_heel"], 1)}],
        [{n: (*known[n], 2) for n in THEIRS.values()} for known in (second, third)],
    ]


def label_studio(folder):
    """Label Studio's export: a task with a rectangle and two joints in it, and an empty cot."""
    pictures(folder / "images", ["a.png", "b.png"])

    def region(kind, name, **value):
        return {
            "id": name, "type": kind, "value": value, "original_width": SIZE_WH[0], "original_height": SIZE_WH[1],
        }  # fmt: skip

    result = [
        region("rectanglelabels", "r", x=5, y=5, width=60, height=70, rectanglelabels=["infant"]),
        region("keypointlabels", "p", x=20, y=30, keypointlabels=["crown"]) | {"parentID": "r"},
        region("keypointlabels", "q", x=40, y=50, keypointlabels=["pelvis"]) | {"parentID": "r"},
    ]
    tasks = [
        {"data": {"image": "/data/local-files/?d=images/a.png"}, "annotations": [{"result": result}]},
        {"data": {"image": "/data/upload/1/0123abcd-b.png"}, "annotations": [{"result": []}]},
    ]
    (folder / "export.json").write_text(json.dumps(tasks))
