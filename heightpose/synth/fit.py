"""Do the drawn children look like real ones? Lengths against WHO length-for-age, proportions against their real spread.

Left alone, a body model's trunk and arms predict its length to a millimetre, which no real child's do; a method
trained on such bodies would measure trunks and call them lengths. So the spread of proportions at a given age is
printed, and how well length could be told from trunk and arms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from heightpose.metrics.who import SEXES, z_score
from heightpose.skeleton import INFANT
from heightpose.synth.body import BodyModel

AGE_BANDS = ((0.0, 3.0), (3.0, 6.0), (6.0, 12.0), (12.0, 18.0), (18.0, 24.0))
#: What real children's trunk-to-length ratio spreads at a given age, 1 sd in percent of the ratio.
REAL_TRUNK_SPREAD = 2.0
#: Curves of three coefficients run through the proportions of a few children and leave nothing over.
_FEWEST = 10


@dataclass(frozen=True)
class Sample:
    """Drawn children: ``sex`` (N,) text, ``age_months``, ``length_cm`` (N,), ``joints_cm`` (N, K, 3) in rest pose."""

    sex: np.ndarray
    age_months: np.ndarray
    length_cm: np.ndarray
    joints_cm: np.ndarray


@dataclass(frozen=True)
class Fit:
    """What :func:`measure` finds.

    Attributes:
        z: (sex, age band) -> (n, mean, sd) of length-for-age z; WHO's own are 0 and 1.
        spread_percent: part -> 1 sd of its share of the length at a given age, in percent of the share.
        from_trunk_and_arms_cm: residual sd of length predicted linearly from trunk (crown to pelvis) and arms.
    """

    z: dict[tuple[str, tuple[float, float]], tuple[int, float, float]]
    spread_percent: dict[str, float]
    from_trunk_and_arms_cm: float


def draw(model: BodyModel, seeds: Iterable[int]) -> Sample:
    """The children of these seeds, in rest pose."""
    children, joints = [], []
    for seed in seeds:
        children.append(model.sample_child(seed))
        joints.append(model.pose(children[-1]).joints_cm)
    return Sample(
        np.array([child.sex for child in children]),
        np.array([child.age_months for child in children]),
        np.array([child.length_cm for child in children]),
        np.stack(joints),
    )


def _parts(joints_cm: np.ndarray) -> dict[str, np.ndarray]:
    """Lengths ``(N,)`` of trunk, head, thigh, shank and arm; paired ones are means of both sides."""

    def bone(a: str, b: str) -> np.ndarray:
        ends = joints_cm[:, INFANT.index(a)] - joints_cm[:, INFANT.index(b)]
        return np.linalg.norm(ends, axis=1)

    def both(a: str, b: str) -> np.ndarray:
        return (bone(f"left_{a}", f"left_{b}") + bone(f"right_{a}", f"right_{b}")) / 2

    return {
        "trunk": joints_cm[:, INFANT.index("crown"), 2] - joints_cm[:, INFANT.index("pelvis"), 2],
        "head": bone("upper_neck", "crown"),
        "thigh": both("hip", "knee"),
        "shank": both("knee", "ankle"),
        "arm": both("shoulder", "elbow") + both("elbow", "wrist"),
    }


def _residual_sd(design: np.ndarray, values: np.ndarray) -> float:
    """Standard deviation of ``values`` (N,) about their least-squares fit by ``design`` (N, P)."""
    error = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(np.sqrt((error**2).sum() / max(len(values) - design.shape[1], 1)))


def measure(sample: Sample) -> Fit:
    """Compare drawn children with WHO length-for-age and with the spread of real proportions."""
    z = np.array(
        [
            z_score(str(sex), float(age), float(length))
            for sex, age, length in zip(sample.sex, sample.age_months, sample.length_cm, strict=True)
        ]
    )
    table = {}
    for sex in SEXES:
        for low, high in AGE_BANDS:
            chosen = z[(sample.sex == sex) & (sample.age_months >= low) & (sample.age_months < high)]
            if len(chosen):
                table[sex, (low, high)] = (len(chosen), float(chosen.mean()), float(chosen.std()))
    parts, length, age = _parts(sample.joints_cm), sample.length_cm, sample.age_months
    by_age = np.column_stack([np.ones_like(age), age, age**2])
    spread = {
        name: 100.0 * _residual_sd(by_age, part / length) / float((part / length).mean())
        for name, part in parts.items()
    }
    trunk_and_arms = np.column_stack([np.ones_like(age), parts["trunk"], parts["arm"]])
    return Fit(table, spread, _residual_sd(trunk_and_arms, length))


def fit_text(fit: Fit) -> str:
    """The comparison as a table for people."""
    lines = [
        "length-for-age z of the drawn children (WHO: mean 0, sd 1)",
        "sex     age       n   mean     sd",
    ]
    for (sex, (low, high)), (n, mean, sd) in fit.z.items():
        spread = f"{sd:.2f}" if n > 1 else "-"
        lines.append(f"{sex:<7} {low:>2.0f}-{high:<2.0f} mo {n:>4}  {mean:+.2f}   {spread}")
    if sum(n for n, _, _ in fit.z.values()) < _FEWEST:
        return "\n".join([*lines, f"proportions: {_FEWEST} children or more show how they spread"])
    lines.append("share of the length at a given age, 1 sd in percent of the share:")
    lines.append("  " + ", ".join(f"{name} {value:.1f} %" for name, value in fit.spread_percent.items()))
    lines.append(f"  (real children's trunk: about {REAL_TRUNK_SPREAD:.0f} %)")
    lines.append(f"length told from trunk and arms: residual {fit.from_trunk_and_arms_cm:.2f} cm (1 sd)")
    return "\n".join(lines)
