"""How infants of this data set lie: a robust Gaussian per posture, and how surprising one joint is given the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from heightpose.data.checks.bodies import Bodies

#: As many infants of the whole set vouch for a posture's covariance beside its own.
_SHARED = 25.0
#: Nobody labels better than this, body units (about 0.7 cm on a 65 cm infant).
_LABEL_NOISE = 0.01


def sigmas(values: np.ndarray, least: float = 1e-9) -> np.ndarray:
    """Upper-tail sigmas of each value against all of them: 0 at the median, 1.28 at the 90th percentile.

    NaN stays NaN. The upper decile spans the scale, so a heavy-tailed statistic is judged by its own tail; errors in
    less than a tenth of the set do not move it. ``least`` is the smallest sigma believed.
    """
    known = values[np.isfinite(values)]
    if len(known) < 8:
        return np.full(values.shape, np.nan)
    middle, high = np.quantile(known, [0.5, 0.9])
    return (values - middle) / max((high - middle) / 1.2816, least)


@dataclass(frozen=True, eq=False)
class Shape:
    """Mean and covariance of body-frame joints, ``(2K,)`` and ``(2K, 2K)``, per group of infants."""

    bodies: Bodies
    means: dict[str, np.ndarray]
    covariances: dict[str, np.ndarray]

    @classmethod
    def learn(cls, bodies: Bodies) -> Shape:
        """Fit; every infant counts a second time as its own mirror image, which is as good an infant."""
        xy = np.where(bodies.used[..., None], bodies.xy, np.nan)
        mirrored = (xy * [-1.0, 1.0])[:, bodies.skeleton.flip_map]
        names = sorted(set(bodies.groups.tolist()))
        rows = {g: np.concatenate([xy[bodies.groups == g], mirrored[bodies.groups == g]]) for g in names}
        means, centred = {}, {}
        for name, group in rows.items():
            flat = group.reshape(len(group), -1)
            middle = _nanmedian(flat)
            spread = np.maximum(1.4826 * _nanmedian(np.abs(flat - middle)), _LABEL_NOISE)
            # Values beyond three sigmas are drawn in: errors must not widen what counts as normal.
            kept = np.clip(np.where(np.isnan(flat), middle, flat), middle - 3 * spread, middle + 3 * spread)
            means[name] = kept.mean(axis=0)
            centred[name] = kept - means[name]
        everyone = np.concatenate(list(centred.values()))
        pooled = everyone.T @ everyone / len(everyone)
        noise = _LABEL_NOISE**2 * np.eye(len(pooled))
        return cls(
            bodies,
            means,
            {
                g: (c.T @ c + _SHARED * pooled) / (len(c) + _SHARED) + noise for g, c in centred.items()
            },
        )  # fmt: skip

    def precision(self, n: int) -> np.ndarray:
        """``(2m, 2m)`` of the ``m`` joints that infant ``n`` has."""
        axes = np.repeat(self.bodies.used[n], 2)
        return np.linalg.inv(self.covariances[str(self.bodies.groups[n])][np.ix_(axes, axes)])

    def deviation(self, n: int, xy: np.ndarray) -> np.ndarray:
        """``(2m,)`` from the mean of infant ``n``'s group."""
        axes = np.repeat(self.bodies.used[n], 2)
        return (xy.reshape(-1) - self.means[str(self.bodies.groups[n])])[axes]

    def surprise(self) -> tuple[np.ndarray, np.ndarray]:
        """Each joint given the infant's others.

        Returns:
            ``(N, K)`` Mahalanobis distance of the leave-one-joint-out residual, NaN where not labelled, and the
            residual ``(N, K, 2)`` in body units.
        """
        count, size = self.bodies.used.shape
        distance, residual = np.full((count, size), np.nan), np.full((count, size, 2), np.nan)
        for n in range(count):
            used = np.flatnonzero(self.bodies.used[n])
            if len(used) < 4:
                continue
            theta = self.precision(n)
            force = (theta @ self.deviation(n, self.bodies.xy[n])).reshape(-1, 2)
            for row, joint in enumerate(used):
                own = theta[2 * row : 2 * row + 2, 2 * row : 2 * row + 2]
                left = np.linalg.solve(own, force[row])
                residual[n, joint] = left
                distance[n, joint] = np.sqrt(max(float(left @ own @ left), 0.0))
        return distance, residual

    def inflation(self) -> float:
        """How much heavier than Gaussian the set's tail is: likelihood ratios are divided by it."""
        ratio = []
        for n in range(len(self.bodies)):
            d = self.deviation(n, self.bodies.xy[n])
            ratio.append(float(d @ self.precision(n) @ d) / chi2.ppf(0.9, len(d)) if len(d) else 0.0)
        return max(float(np.quantile(ratio, 0.9)), 1.0) if ratio else 1.0


def _nanmedian(values: np.ndarray) -> np.ndarray:
    """Per column; 0 for a column that is never labelled."""
    some = np.isfinite(values).any(axis=0)
    out = np.zeros(values.shape[1])
    out[some] = np.nanmedian(values[:, some], axis=0)
    return out
