"""The findings of the label checks as files: JSON, CSV and one HTML page with the pictures inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from heightpose.data.checks.finding import Finding
from heightpose.data.coco import Dataset
from heightpose.data.items import Item, Person, head_angle_deg
from heightpose.data.pictures import Pictures
from heightpose.report.overlay import blur_labelled, draw_joints, labelled_pose
from heightpose.report.page import Html, figure, grid, heading, jpeg, paragraph, span, table, write_page
from heightpose.runtime.atomic import write_csv, write_json
from heightpose.skeleton import Skeleton
from heightpose.types import Detection, Pose
from heightpose.words import plural

_SIDE_PX = 320
_RING_RGB = (255, 60, 60)


def write_findings(
    out: Path,
    dataset: Dataset,
    findings: Sequence[Finding],
    rows: int,
    *,
    model: str | None,
    blur: bool = True,
) -> None:
    """Write ``findings.json``, ``findings.csv`` (all of them) and ``findings.html`` (the first ``rows``).

    Args:
        model: who was asked, as ``--model`` names it; None: nobody.
    """
    folder = dataset.path.parent
    documents = [finding.as_dict(rank, folder) for rank, finding in enumerate(findings, 1)]
    write_json(out / "findings.json", {"data": str(dataset.path), "model": model, "findings": documents})
    columns = [
        "rank", "kind", "also", "severity", "file", "image_id", "annotation_id", "joints", "text", "other_files",
        "fixable",
    ]  # fmt: skip
    cells = [{k: " ".join(v) if isinstance(v, list) else v for k, v in d.items()} for d in documents]
    write_csv(out / "findings.csv", cells, columns)
    counts = Counter(finding.kind for finding in findings)
    figures = [_figure(rank, one, dataset, blur) for rank, one in enumerate(findings[:rows], 1)]
    write_page(
        out / "findings.html", f"Labels to look at: {dataset.path.parent.name}",
        f"{plural(len(findings), 'suspicion')} in {plural(len(dataset.items), 'picture')}, worst first; "
        f"shown: the first {len(figures)}. A suspicion is a reason to look, not a verdict.",
        paragraph("Orange: the infant's left, blue: its right, white: the midline. "
                  "Ringed in red: the joints in question. Hollow joints are labelled as hidden.", "dim"),
        table(["kind", "findings"], counts.most_common()) if counts else paragraph("Nothing stands out.", "good"),
        heading("Pictures"), grid(figures),
    )  # fmt: skip


def _figure(rank: int, finding: Finding, dataset: Dataset, blur: bool) -> Html:
    lines = [
        Html(f"<b>{rank}. {finding.kind}</b> "),
        span(f"{finding.severity:.1f} sigma", "mark"),
        Html("<br>"),
    ]
    where = finding.place(dataset.path.parent)
    lines += [span(where, "dim"), Html("<br>"), span(finding.text, "")]
    source = jpeg(_picture(finding.item, finding, dataset.skeleton, blur)) if finding.item is not None else ""
    return figure(source, Html("".join(lines)), where)


def _picture(item: Item, finding: Finding, skeleton: Skeleton, blur: bool) -> np.ndarray:
    rgb = Pictures([item]).picture(0).copy()
    if blur:
        rgb = blurred(rgb, item, skeleton, in_doubt=finding.joints)
    person = finding.person if finding.person is not None else next(iter(item.people), None)
    low, high = np.zeros(2), np.array(item.size_wh, dtype=float)
    if person is not None:
        points = np.concatenate([person.kpts_frame[person.usable], person.bbox_xyxy.reshape(2, 2)])
        margin = 0.12 * float(np.ptp(points, axis=0).max())
        middle, half = (points.min(0) + points.max(0)) / 2, float(np.ptp(points, axis=0).max()) / 2 + margin
        low, high = np.floor(middle - half), np.ceil(middle + half)
    zoom = _SIDE_PX / float((high - low).max())
    matrix = np.array([[zoom, 0, -zoom * low[0]], [0, zoom, -zoom * low[1]]])
    size = (round(zoom * (high - low)[0]), round(zoom * (high - low)[1]))
    picture = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(60, 60, 60))
    if person is not None:
        _draw(picture, person, (person.kpts_frame - low) * zoom, finding.joints, skeleton)
    return picture


def _draw(
    picture: np.ndarray, person: Person, at: np.ndarray, marked: Sequence[str], skeleton: Skeleton
) -> None:
    kept = np.flatnonzero(person.visibility > 0)
    # Only what is labelled: a smaller skeleton of just those joints would lose its pairs, so bones are drawn here.
    if len(kept) == len(skeleton):
        draw_joints(picture, at, hidden=person.visibility < 2, scale=0.7, skeleton=skeleton)
    else:
        _draw_partly(picture, at, person, skeleton)
    for name in marked:
        k = skeleton.index(name)
        if person.visibility[k] > 0:
            x, y = np.clip(np.rint(at[k]), -9999, 9999).astype(int).tolist()
            cv2.circle(picture, (x, y), 8, _RING_RGB, 2, cv2.LINE_AA)


def _draw_partly(picture: np.ndarray, at: np.ndarray, person: Person, skeleton: Skeleton) -> None:
    """Joints without a label are drawn onto their nearest labelled ancestor, where they do not show."""
    placed = at.copy()
    for k in range(len(skeleton)):
        up = k
        while up >= 0 and person.visibility[up] == 0:
            up = int(skeleton.parents[up])
        placed[k] = at[up] if up >= 0 else (-30000, -30000)
    draw_joints(picture, placed, hidden=person.visibility == 1, scale=0.7, skeleton=skeleton)


def blurred(rgb: np.ndarray, item: Item, skeleton: Skeleton, in_doubt: Sequence[str]) -> np.ndarray:
    """Every labelled head pixelated; all of the picture where a head's place is not labelled, or is in doubt.

    Where more infants lie in view than are labelled, all but the labelled ones' joints is pixelated too.
    """
    poses = [_labelled_pose(person, skeleton, in_doubt) for person in item.people]
    return blur_labelled(rgb, poses, item.has_unlabelled, skeleton)


def _labelled_pose(person: Person, skeleton: Skeleton, in_doubt: Sequence[str]) -> Pose | None:
    """The labels as a pose that tells where the head is; None where they do not say, or may be wrong."""
    head = {"crown", "upper_neck"}
    if not head <= set(skeleton.names) or head & set(in_doubt):
        return None
    angle = head_angle_deg(person.kpts_frame, person.usable, skeleton)
    detection = Detection(person.bbox_xyxy, angle if angle is not None else 0.0, 1.0)
    return labelled_pose(person.kpts_frame, person.usable, detection, skeleton)
