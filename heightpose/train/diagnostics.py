"""What is wrong with a training run: detectors that read recorded evidence, each on its own and without a network.

:mod:`heightpose.train.observe` gathers the evidence while a run goes, :mod:`heightpose.train.checkup` from its folder.
A detector answers None where the evidence is too little to say: a young run has not collapsed, it has not begun.

Symbols: K joints. Positions are in shares of the crop's side, x right and y down, unless a name says otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from heightpose.skeleton import mirror_name
from heightpose.train.learning_rate import rate_too_high, rate_too_low
from heightpose.train.observed import Evidence, Finding, Look
from heightpose.words import plural

#: Share of the run, or steps after the warm-up, before which slowness is no fault.
_YOUNG, _YOUNG_STEPS = 0.2, 500
#: ... and from which a run is judged by what it has become, however short it was.
_END = 0.9
#: The most that predictions may vary, as a share of what the truth does, to be called one pose.
_COLLAPSED = 0.3
#: Below this many samples nothing is said of their spread.
_FEW = 4
#: What one batch learned by heart must reach, points of MeanSmS@0.1 or of recall@0.5.
_BY_HEART = 99.0
#: Ratios between targets and truth that are no mistake.
_SCALE = (0.85, 1.18)
#: A fit of predictions to the truth is believed from this correlation on.
_BELIEVED = 0.95
#: The most labelled joints that may lie off their crop, or off their picture.
_OFF_CROP, _OFF_PICTURE = 0.35, 0.2
#: Labels of pictures twice as large as they were labelled at end here; those of infants anywhere go further.
_REACH = 0.6
#: Channels of a layer that may be dead without a word, and as a share of all channels looked at.
_DEAD_LAYER, _DEAD_ALL = 0.25, 0.1
#: A joint is taken for another in this share of the pictures where the two can be told apart, and in so many. Names
#: that are mixed up are so both ways; a joint not yet told from its neighbour is on that one's place, one way.
_TAKEN_FOR, _TAKEN_PICTURES, _ONE_WAY = 0.3, 5, 0.6
#: ... which says something only once the midline is found to this, crop shares: before, joints lie anywhere.
_FOUND = 0.04


def collapse(e: Evidence) -> Finding | None:
    """Predictions hardly vary between inputs: the mean pose, or none at all."""
    looks = [look for look in e.looks if look.samples >= _FEW and look.true_spread > 0]
    if not looks or _young(e, looks[-1]):
        return None
    last = looks[-1]
    if len(looks) < 2 and last.progress < _END:
        return None
    if any(look.pred_spread >= _COLLAPSED * look.true_spread for look in looks[-2:]):
        return None
    if e.kind == "pose":
        seen = (
            f"a joint moves by {100 * last.pred_spread:.2g} % of the crop between {last.samples} inputs, "
            f"its truth by {100 * last.true_spread:.2g} %"
        )
    else:
        seen = f"the maps of {last.samples} inputs differ by {100 * last.pred_spread:.2g} % of their contrast"
    few = last.step < e.warmup_steps + _YOUNG_STEPS
    return Finding(
        "collapse",
        3,
        f"predictions hardly vary between inputs: {seen}",
        (
            *((f"train longer: {last.step} steps are few",) if few else ()),
            "run --overfit-one-batch: a net that fails there ignores its input",
            "check that the pictures reach the net (heightpose data preview) and that optim.freeze leaves it free",
            "lower optim.lr, lengthen optim.warmup_steps, or start from weights (--start-from)",
        ),
        last.step,
    )


def one_batch(e: Evidence) -> Finding | None:
    """A run that should learn one batch by heart and does not."""
    judged = [look for look in e.looks if look.score is not None]
    if not e.one_batch or not judged or judged[-1].progress < _END:
        return None
    last = judged[-1]
    assert last.score is not None
    if last.score >= _BY_HEART:
        return None
    name = "MeanSmS@0.1" if e.kind == "pose" else "recall@0.5"
    return Finding(
        "one-batch",
        3,
        f"cannot overfit one batch: {name} {last.score:.1f} of {_BY_HEART:g} on it after {last.step} steps",
        (
            "more steps (--epochs) if the loss still falls at the end of log.csv",
            "else look at targets, loss and net in this order: nothing else plays a part in this check",
            "try optim.lr three times higher and lower",
        ),
        last.step,
    )


def dead_channels(e: Evidence) -> Finding | None:
    """Channels that give the same number whatever the input."""
    looks = [look for look in e.looks if look.channels > 0]
    if not looks:
        return None
    last = looks[-1]
    if last.silent:
        names = ", ".join(last.silent)
        return Finding(
            "dead-channels",
            3,
            f"the output of {plural(len(last.silent), 'channel')} never changes: {names}",
            (
                "check that these joints are labelled in train (heightpose data stats) and weigh in the loss",
                "start their channels anew: init_new_joints, or other weights to start from",
            ),
            last.step,
        )
    if _young(e, last):  # statistics of normalisation are not settled: much looks dead that is not
        return None
    worst = [d for d in last.dead if d.dead >= max(1.0, _DEAD_LAYER * d.channels)]
    total = sum(d.dead for d in last.dead)
    if not worst and total < _DEAD_ALL * last.channels:
        return None
    named = sorted(worst if worst else last.dead, key=lambda d: -d.dead / d.channels)[:3]
    where = ", ".join(f"{d.dead} of {d.channels} in {d.layer}" for d in named)
    return Finding(
        "dead-channels",
        2,
        f"{total} of {last.channels} inner channels never change, whatever the input: {where}",
        (
            "lower optim.lr or lengthen optim.warmup_steps: large first steps kill units for good",
            "check the weights that the run starts from",
        ),
        last.step,
    )


def flip_map(e: Evidence) -> Finding | None:
    """Flip pairs against the joints' names, and against where mirrored labels lie."""
    advice = (
        "left_x must swap with right_x and nothing else: see flip_map of heightpose.skeleton",
        "look at mirrored samples with their joint names drawn (heightpose data preview)",
    )
    expected = _expected_map(e.joints)
    if len(e.flip_map) == len(e.joints) > 0 and list(e.flip_map) != expected:
        wrong = [k for k, (a, b) in enumerate(zip(e.flip_map, expected, strict=True)) if a != b]
        pairs = ", ".join(f"{e.joints[k]} with {e.joints[e.flip_map[k]]}" for k in wrong[:4])
        return Finding(
            "flip-pairs",
            3,
            f"mirrored pictures swap {pairs}: {plural(len(wrong), 'joint')} in all",
            advice,
            0,
        )
    wrong_labels = _mirrored_labels(e, expected)
    if not wrong_labels:
        return None
    pairs = ", ".join(f"{e.joints[k]} is the mirror image of {e.joints[j]}" for k, j in wrong_labels[:4])
    return Finding(
        "flip-pairs",
        3,
        f"in mirrored samples {pairs}: {plural(len(wrong_labels), 'joint')} in all",
        advice,
        0,
    )


def _mirrored_labels(e: Evidence, expected: Sequence[int]) -> list[tuple[int, int]]:
    """(joint, joint whose mirror image it lies on) of those that are not their partner's mirror image.

    Mirrored crops show the same infants as the others, so joint k's mean place there is the mirror image of its
    partner's mean place in the others, whatever the infants do.
    """
    t = e.targets
    if not len(t.plain_n) == len(t.mirrored_n) == len(e.joints) > 0:
        return []
    plain, mirrored = np.array(t.plain_mean), np.array(t.mirrored_mean)
    count = np.minimum(t.plain_n, t.mirrored_n)
    image = np.stack([1.0 - plain[:, 0], plain[:, 1]], axis=1)
    away = np.linalg.norm(mirrored[:, None] - image[None], axis=2)
    away[:, count < 8] = np.inf
    found = []
    for k, partner in enumerate(expected):
        if count[k] < 8 or count[partner] < 8:
            continue
        error = math.hypot(*t.sd[k]) * math.sqrt(2.0 / count[k])
        nearest = int(away[k].argmin())
        if away[k, partner] > 0.03 + 3.0 * error and away[k, nearest] < 0.5 * away[k, partner]:
            found.append((k, nearest))
    return found


def taken_for(e: Evidence) -> Finding | None:
    """Joints that are predicted on another joint's place: sides swapped in labels, or pairs that are none."""
    looks = [look for look in e.looks if look.swaps]
    if not looks or _young(e, looks[-1]) or looks[-1].midline_error > _FOUND:
        return None
    last = looks[-1]
    share = {(s.joint, s.other): s.share for s in last.swaps}
    taken = [
        s
        for s in last.swaps
        if s.share >= _TAKEN_FOR
        and s.share * s.seen >= _TAKEN_PICTURES
        and (s.share >= _ONE_WAY or share.get((s.other, s.joint), 0.0) >= _TAKEN_FOR / 2)
    ]
    worst = sorted(taken, key=lambda s: -s.share)
    if not worst:
        return None
    pairs = ", ".join(f"{s.joint} on {s.other} in {100 * s.share:.0f} % of {s.seen}" for s in worst[:4])
    partners = 2 * sum(mirror_name(s.joint) == s.other for s in worst) >= len(worst)
    return Finding(
        "joints-swapped",
        2,
        f"joints are taken for others while the midline is found: {pairs}",
        (
            "look for labels with left and right swapped (heightpose data check)"
            if partners
            else "check the order of the joint names of the data and of the weights that the run starts from",
            "check the flip pairs: augment.flip: 0 must make this go away if they are wrong",
        ),
        last.step,
    )


def target_scale(e: Evidence) -> Finding | None:
    """Targets that are not where, or as high as, the labels say."""
    t, seen = e.targets, []
    low, high = _SCALE
    if t.samples:
        if t.peak is not None and not low <= t.peak <= high:
            seen.append(f"target maps peak at {t.peak:.2g} times the height they should have")
        for what, scale in (("target maps", t.map_scale), ("target points", t.point_scale)):
            if scale is not None and not low <= scale <= high:
                seen.append(f"{what} lie at {scale:.2g} times the labels' places")
        if t.off_crop > _OFF_CROP:
            seen.append(f"{100 * t.off_crop:.0f} % of the labelled joints lie off their crop")
    if t.off_picture > _OFF_PICTURE:
        seen.append(f"{100 * t.off_picture:.0f} % of the labelled joints lie off their picture")
    if t.reach < _REACH:
        seen.append(f"no label lies further right or down than {100 * t.reach:.0f} % of its picture")
    looks = [look for look in e.looks if look.fit >= _BELIEVED and not _young(e, look)]
    if looks and (looks[-1].scale > high or _smaller(looks[-1], low)):
        seen.append(f"predictions lie at {looks[-1].scale:.2g} times the truth's places")
    if looks and looks[-1].peak is not None and looks[-1].peak > 1.5:
        seen.append(f"maps peak at {looks[-1].peak:.3g} where 1 is a perfect answer")
    if not seen:
        return None
    return Finding(
        "target-scale",
        3,
        "; ".join(seen),
        (
            "compare pose.input_wh and pose.heatmap_wh with the net's stride, and encode with decode",
            "labels must be in px of the pictures as they are stored (heightpose data validate, data preview)",
        ),
        looks[-1].step if looks else 0,
    )


def unlabelled(e: Evidence) -> Finding | None:
    """Joints that no training picture teaches: the net answers something for them all the same."""
    names = [joint for joint, n in zip(e.joints, e.targets.learners, strict=False) if n == 0]
    if not names or len(names) == len(e.joints):  # a run without any does not begin
        return None
    return Finding(
        "unlabelled-joint",
        2,
        f"no training picture teaches {', '.join(names)}: what the net answers there means nothing",
        (
            "label these joints in some pictures, or add a data set that has them (heightpose data stats)",
            "check that they weigh in the loss: loss.edge_weight, loss.joint_weights, loss.hidden_weight",
        ),
        0,
    )


def _smaller(look: Look, low: float) -> bool:
    """Whether predictions are nearer to the crop's corner: what a young net draws to the middle keeps its mean."""
    return look.scale < low and (look.mean_scale is None or look.mean_scale < low)


def overfit(e: Evidence) -> Finding | None:
    """Better on train than on validation by more than ``diagnostics.overfit_limit``."""
    judged = [look for look in e.looks if look.overfit is not None]
    if e.one_batch or not judged:
        return None
    last = judged[-1]
    assert last.overfit is not None
    if last.overfit <= e.overfit_limit:
        return None
    train = "" if last.train_mean is None else f" ({last.train_mean:.1f} on train)"
    return Finding(
        "overfit",
        2,
        f"Mean@0.1 is {last.overfit:.1f} points lower on validation than on train{train}; "
        f"the limit is {e.overfit_limit:g}",
        (
            "more children in train: heightpose data suggest tells which",
            "stronger augmentation (augment.randaugment_m), more optim.weight_decay, fewer epochs",
            "freeze more of a pre-trained net (optim.freeze)",
        ),
        last.step,
    )


#: Every detector; of what is equally bad causes come before what follows from them.
DETECTORS: tuple[Callable[[Evidence], Finding | None], ...] = (
    rate_too_high, rate_too_low, flip_map, target_scale, unlabelled, collapse, one_batch, dead_channels, taken_for,
    overfit,
)  # fmt: skip


def diagnose(evidence: Evidence) -> list[Finding]:
    """Everything found, the worst first."""
    found = [finding for detector in DETECTORS if (finding := detector(evidence)) is not None]
    return sorted(found, key=lambda finding: -finding.severity)


def report(evidence: Evidence) -> dict[str, Any]:
    """``diagnostics.json``: findings, and the evidence to find them again."""
    return {
        "schema": 1,
        "findings": [dataclasses.asdict(f) for f in diagnose(evidence)],
        "evidence": dataclasses.asdict(evidence),
    }


def _young(e: Evidence, look: Look) -> bool:
    begun = look.step > e.warmup_steps and (
        look.progress >= _YOUNG or look.step >= e.warmup_steps + _YOUNG_STEPS
    )
    return not begun and look.progress < _END


def _expected_map(joints: Sequence[str]) -> list[int]:
    names = list(joints)
    return [names.index(mirror_name(n)) if mirror_name(n) in names else k for k, n in enumerate(names)]
