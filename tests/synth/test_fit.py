"""Do drawn children spread as real ones do?"""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.metrics.who import length_for_z
from heightpose.skeleton import INFANT
from heightpose.synth import fit


def _stick_children(count, seed, trunk_spread):
    """Children of known z whose trunk's share of the length is spread by ``trunk_spread``."""
    rng = np.random.default_rng(seed)
    sex = np.array(["female", "male"])[rng.integers(0, 2, count)]
    age, z = rng.uniform(0, 24, count), rng.standard_normal(count)
    length = np.array([length_for_z(s, a, k) for s, a, k in zip(sex, age, z, strict=True)])
    joints = np.zeros((count, len(INFANT), 3))
    trunk = length * 0.5 * (1 + trunk_spread * rng.standard_normal(count))
    joints[:, INFANT.index("crown"), 2] = trunk
    for side in ("left", "right"):
        joints[:, INFANT.index(f"{side}_knee"), 2] = -0.24 * length
        joints[:, INFANT.index(f"{side}_ankle"), 2] = -0.45 * length
        joints[:, INFANT.index(f"{side}_elbow"), 0] = 0.15 * length
        joints[:, INFANT.index(f"{side}_wrist"), 0] = 0.28 * length
    joints[:, INFANT.index("upper_neck"), 2] = trunk - 0.14 * length
    return fit.Sample(sex, age, length, joints), z


def test_known_children_come_out_as_they_are():
    sample, z = _stick_children(4000, 1, 0.02)
    found = fit.measure(sample)
    assert sum(n for n, _, _ in found.z.values()) == 4000
    chosen = z[(sample.sex == "male") & (sample.age_months >= 6) & (sample.age_months < 12)]
    assert found.z["male", (6.0, 12.0)] == pytest.approx((len(chosen), chosen.mean(), chosen.std()), abs=1e-6)
    assert found.spread_percent["trunk"] == pytest.approx(2.0, abs=0.1)
    assert found.spread_percent["thigh"] == pytest.approx(0.0, abs=1e-6)


def test_a_body_whose_trunk_gives_its_length_away_is_noticed():
    sample, _ = _stick_children(500, 2, 0.0)
    assert fit.measure(sample).from_trunk_and_arms_cm < 0.01


def test_the_nurserys_children_spread_like_real_ones(model):
    found = fit.measure(fit.draw(model, range(30)))
    z = [mean for _, mean, _ in found.z.values()]
    assert len(z) >= 8
    assert 1.4 < found.spread_percent["trunk"] < 2.8
    assert found.from_trunk_and_arms_cm > 0.7
    assert "residual" in fit.fit_text(found)


def test_one_child_has_no_spread():
    text = fit.fit_text(fit.measure(_stick_children(1, 3, 0.02)[0]))
    assert "0.00" not in text.replace("-0.00", "")
    assert "residual" not in text
    assert "10 children or more" in text
