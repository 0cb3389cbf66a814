"""Six kinds of label errors planted into a data set: ``plant(document, folder, rng)`` changes it and says where."""

from __future__ import annotations

import cv2
import numpy as np

from heightpose.skeleton import INFANT

KINDS = ("swap", "outside", "stretched", "duplicate", "missing", "drift")


def _table(annotation):
    return np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)


def _store(annotation, table):
    annotation["keypoints"] = [v for x, y, s in table.tolist() for v in (x, y, int(s))]


def swap(annotation, rng):
    table = _table(annotation)
    parts = [("knee", "ankle", "heel", "toe"), ("elbow", "wrist"), ("ankle", "heel", "toe"), None][
        rng.integers(4)
    ]
    order = np.arange(len(INFANT))
    for k, name in enumerate(INFANT.names):
        if parts is None or name.endswith(parts):
            order[k] = INFANT.flip_map[k]
    _store(annotation, table[order])


def outside(annotation, rng):
    table = _table(annotation)
    x, y, w, h = annotation["bbox"]
    joint = rng.choice(np.flatnonzero((table[:, 2] > 0) & ~np.array(annotation["out_of_frame"], bool)))
    angle = rng.uniform(0, 2 * np.pi)
    reach = np.array([w, h]) * rng.uniform(0.6, 0.9)
    table[joint, :2] = np.array([x + w / 2, y + h / 2]) + reach * np.sign([np.cos(angle), np.sin(angle)])
    _store(annotation, table)


def stretched(annotation, rng):
    """A limb's end made 1.7 to 2.3 times as long, its box drawn again around it."""
    table = _table(annotation)
    side = rng.choice(["left", "right"])
    root, *ends = [
        ("knee", "ankle", "heel", "toe"),
        ("hip", "knee", "ankle", "heel", "toe"),
        ("elbow", "wrist"),
    ][rng.integers(3)]
    parent, *moved = INFANT.indices(*(f"{side}_{part}" for part in (root, *ends)))
    shift = (table[moved[0], :2] - table[parent, :2]) * rng.uniform(0.7, 1.3)
    table[moved, :2] += shift
    kept = (table[:, 2] > 0) & ~np.array(annotation["out_of_frame"], bool)
    x, y, w, h = annotation["bbox"]
    low = np.minimum(table[kept, :2].min(axis=0), [x, y])
    high = np.maximum(table[kept, :2].max(axis=0), [x + w, y + h])
    annotation["bbox"] = [*low.tolist(), *(high - low).tolist()]
    _store(annotation, table)


def missing(annotation, rng):
    table = _table(annotation)
    names = [("crown",), ("left_heel", "right_heel"), ("left_toe",), ("right_heel", "right_toe")][
        rng.integers(4)
    ]
    table[INFANT.indices(*names)] = 0
    _store(annotation, table)


def duplicate(document, image, folder, rng):
    """The same picture and labels under another name, half of the time compressed again."""
    number = max(i["id"] for i in document["images"]) + 1
    name = f"copy-{number}.jpg"
    source = folder / image["file_name"]
    if rng.random() < 0.5:
        (folder / name).write_bytes(source.read_bytes())
    else:
        cv2.imwrite(str(folder / name), cv2.imread(str(source)), [cv2.IMWRITE_JPEG_QUALITY, 70])
    document["images"].append({**image, "id": number, "file_name": name})
    for a in [a for a in document["annotations"] if a["image_id"] == image["id"]]:
        fresh = max(b["id"] for b in document["annotations"]) + 1
        document["annotations"].append({**a, "id": fresh, "image_id": number})
    return number


def plant(document, folder, rng, per_kind=(4, 4, 4, 3, 3, 2), drift_items=12):
    """Plant errors of :data:`KINDS` in infants of their own.

    Returns:
        list of (kind, set of image ids any one of which names the error).
    """
    usable = [
        a for a in document["annotations"]
        if not any(a["out_of_frame"]) and _table(a)[:, 2].min() > 0
    ]  # fmt: skip
    usable = [usable[i] for i in rng.permutation(len(usable))]
    images = {i["id"]: i for i in document["images"]}
    truth = []
    counts = dict(zip(KINDS, per_kind, strict=True))
    for annotation in document["annotations"]:
        annotation["strata"] = {**annotation["strata"], "annotator": f"a{rng.integers(4)}"}
    for kind, make in (("swap", swap), ("outside", outside), ("stretched", stretched), ("missing", missing)):
        for _ in range(counts[kind]):
            annotation = usable.pop()
            make(annotation, rng)
            truth.append((kind, {annotation["image_id"]}))
    for _ in range(counts["duplicate"]):
        source = images[usable.pop()["image_id"]]
        truth.append(("duplicate", {source["id"], duplicate(document, source, folder, rng)}))
    for d in range(counts["drift"]):
        joint = INFANT.index(("crown", "pelvis", "left_hip")[d % 3])
        ids = set()
        for _ in range(drift_items):
            annotation = usable.pop()
            table = _table(annotation)
            neck, crown = table[INFANT.indices("upper_neck", "crown"), :2]
            table[joint, :2] -= 0.3 * (crown - neck)
            _store(annotation, table)
            annotation["strata"]["annotator"] = f"drifting-{d}"
            ids.add(annotation["image_id"])
        truth.append(("drift", ids))
    return truth


def hits(findings, truth, rows=40):
    """For each planted error whether the first ``rows`` findings name it (by picture)."""
    named = [(f.kind, f.item.id) for f in findings[:rows] if f.item is not None]
    found = []
    for kind, ids in truth:
        exact = {"duplicate", "missing", "drift"} & {kind}
        found.append(any(i in ids and (not exact or k == kind) for k, i in named))
    return found
