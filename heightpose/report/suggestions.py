"""The contact sheet of suggested frames: what was picked and why, infants' faces blurred."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from heightpose.data.items import Item
from heightpose.data.pictures import read_picture
from heightpose.data.suggest.doubt import SIGNALS
from heightpose.data.suggest.run import Pick
from heightpose.report.overlay import UNSURE_SCORE, blur_faces_in, draw_joints
from heightpose.report.page import Html, figure, grid, heading, jpeg, paragraph, span, table, write_page
from heightpose.skeleton import INFANT
from heightpose.words import plural

_SIDE_PX = 340
#: Views that differ by more than this share of the body may have the head in another place.
_SURE = 0.05


def write_sheet(
    final: Path, picks: Sequence[Pick], items: Sequence[Item], looked: int, *, blur: bool = True
) -> None:
    """Write the page.

    Args:
        items: the pictures as :func:`heightpose.data.suggest.write.write_picks` wrote them, one per pick.
        looked: how many frames there were to choose from.
    """
    clips = len({pick.clip for pick in picks})
    reasons = Counter(reason for pick in picks for reason in pick.why)
    shares = Counter(pick.wish if pick.wish is not None else "all frames" for pick in picks)
    strata = Counter(f"{k} {v}" for pick in picks for k, v in pick.strata.items())
    write_page(
        final, "Frames to label next",
        f"{len(picks)} of {plural(looked, 'frame')}, from {plural(clips, 'clip')}, in the order they were picked. "
        "Doubt is 0 to 1 within what was looked at.",
        paragraph("Orange: the infant's left, blue: its right, white: the midline; rings: joints it is unsure of. "
                  "They are the pre-annotation: correct them, add what is missing.", "dim"),
        table(["picked for", "frames"], shares.most_common()),
        table(["why", "frames"], reasons.most_common()),
        table(["stratum (given or guessed)", "frames"], sorted(strata.items())),
        heading("Frames"),
        grid(_figure(n, p, i, blur) for n, (p, i) in enumerate(zip(picks, items, strict=True), 1)),
    )  # fmt: skip


def _figure(number: int, pick: Pick, item: Item, blur: bool) -> Html:
    parts = ", ".join(f"{n} {100 * r:.0f}" for n in SIGNALS if (r := pick.signals[n]) is not None)
    wish = Html("") if pick.wish is None else span(f" for {pick.wish}", "good")
    lines = [
        Html(f"<b>{number}.</b> "), span(f"doubt {pick.doubt:.2f}", "mark"), wish, Html("<br>"),
        span("; ".join(pick.why), ""), Html("<br>"),
        span(f"{pick.source.name}, frame {pick.frame}, {pick.t_s:.1f} s", "dim"), Html("<br>"),
        span(f"percentiles: {parts}" if parts else "", "dim"), Html("<br>"),
        span(", ".join(f"{k} {v}" for k, v in pick.strata.items()), "dim"),
    ]  # fmt: skip
    return figure(
        jpeg(_picture(pick, item, blur)), Html("".join(lines)), f"{pick.source.name} frame {pick.frame}"
    )


def _picture(pick: Pick, item: Item, blur: bool) -> np.ndarray:
    rgb = read_picture(item.path)
    picture = _blurred(rgb, pick) if blur else rgb.copy()
    pose = pick.look.pose
    low, high = np.zeros(2), np.array(item.size_wh, dtype=float)
    if pose is not None:
        span_ = np.concatenate([pose.bbox_xyxy.reshape(2, 2), pose.kpts_frame])
        grow = 0.08 * float(np.ptp(span_, axis=0).max())
        low = np.clip(np.floor(span_.min(axis=0) - grow), 0, high - 2)
        high = np.clip(np.ceil(span_.max(axis=0) + grow), low + 2, high)
        scale = max(float((high - low).max()) / 400.0, 0.4)
        draw_joints(picture, pose.kpts_frame, hidden=pose.scores < UNSURE_SCORE, scale=scale)
    part = picture[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])]
    zoom = _SIDE_PX / max(part.shape[:2])
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return cv2.resize(part, None, fx=zoom, fy=zoom, interpolation=way)


def _blurred(rgb: np.ndarray, pick: Pick) -> np.ndarray:
    """The head pixelated; all of the picture where the model is not sure where that is, as doubted frames often are."""
    look = pick.look
    sure = False
    if look.pose is not None:
        head = look.pose.scores[INFANT.indices("crown", "upper_neck")]
        sure = bool(head.min() >= UNSURE_SCORE and max(look.flip, look.turns) < _SURE)
    result = look.result if sure else replace(look.result, pose=None)
    return blur_faces_in(rgb, result)
