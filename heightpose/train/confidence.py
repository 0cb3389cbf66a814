"""Fits a calibration of joint scores, covariances and visibility to held-out children, and judges it on others.

Half of the children (drawn by a seeded hash of their names) are fitted to, the other half reported on. The log odds of
a joint being right are linear in the evidence with an offset per joint, shrunk towards their mean (ridge logistic
regression); what the linear model says of children left out of its own fit, in five folds, is then put through a
monotone map, Platt's sigmoid (Advances in Large Margin Classifiers, 1999), so that what fitted too well is made modest
again. Visibility is fitted alike. The size of the error is log-linear in the same evidence, by Student-t likelihood
(4 degrees of freedom: a few joints are on another limb altogether), and scaled so that the median of the squared
Mahalanobis distance is that of a Gaussian, 2 log 2. Its direction is the heatmap's own, tempered, and stretched along
the body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from heightpose.codec.confidence import (
    FEATURES,
    RIGHT_HEADS,
    SCHEMA,
    Calibration,
    Linear,
    unit_shape,
    weights_hash,
)
from heightpose.errors import ConfigError
from heightpose.runtime.modelfile import ModelFile
from heightpose.train.evidence import Samples
from heightpose.words import plural

#: Weight of the penalty on each joint's departure from the mean offset, and on the features' weights.
_RIDGE_JOINT, _RIDGE_WEIGHT = 1.0, 0.1
_FOLDS = 5
_FREEDOM = 4.0
_SHAPES = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEAST_CHILDREN = 10
_BINS = np.linspace(0.0, 1.0, 11)
_QUANTILES = (0.05, 0.16, 0.5, 0.84, 0.95)


def halves(children: np.ndarray, seed: int = 0) -> np.ndarray:
    """``(N,)`` bool: whose data is fitted to; all of a child's on one side, whoever else is in the set."""
    return np.array([_hash(child, seed) % 2 == 0 for child in children])


def enough(samples: Samples) -> bool:
    """Whether these are children enough for :func:`fit`: with joints whose error is known."""
    return len(set(samples.children[samples.known.any(axis=1)])) >= _LEAST_CHILDREN


def fit(samples: Samples) -> Calibration:
    """The calibration of some people's joints. ConfigError when they are too few children whose errors are known."""
    if not enough(samples):
        known = samples.known.any(axis=1)
        without = int((~known).sum())
        raise ConfigError(
            "too few children to calibrate on", expected=f"at least {_LEAST_CHILDREN} to fit to",
            got=str(len(set(samples.children[known])))
            + (f", and {plural(without, 'infant')} without a head size" if without else ""),
            hint="Add pictures with --data" + (", with labels of crown and upper_neck" if without else ""),
        )  # fmt: skip
    features, known = samples.evidence.features(), samples.known
    right = _platt(features, samples.error_heads <= RIGHT_HEADS, known, samples.children)
    seen = _platt(features, samples.visibility == 2, samples.visibility > 0, samples.children)
    shape, (error, _) = min(
        ((power, _spread(samples, power)) for power in _SHAPES), key=lambda candidate: candidate[1][1]
    )
    x, y = np.median(
        np.abs(_whitened(samples, shape)[known] / np.exp(error(features)[known])[:, None]), axis=0
    )
    stretch = float(np.clip(y / x, 0.2, 5.0))
    return Calibration(right, seen, _spread(samples, shape, stretch)[0], shape, stretch)


def judge(calibration: Calibration, samples: Samples) -> dict[str, Any]:
    """Figures of a calibration on people it was not fitted to."""
    chance, known = calibration.probabilities(samples.evidence), samples.known
    is_right = samples.error_heads <= RIGHT_HEADS
    labelled, is_seen = samples.visibility > 0, samples.visibility == 2
    seen = calibration.seen_probabilities(samples.evidence)
    return {
        "people": len(samples),
        "children": len(set(samples.children)),
        "right": reliability(chance[known], is_right[known]),
        "right, seen joints": reliability(chance[known & is_seen], is_right[known & is_seen]),
        "right, hidden joints": reliability(chance[known & ~is_seen], is_right[known & ~is_seen]),
        "raw peak": reliability(samples.evidence.peak[known], is_right[known]),
        "seen": reliability(seen[labelled], is_seen[labelled]),
        "error": _error_figures(calibration, samples),
    }


def document(file: ModelFile, views: dict[str, dict[str, Any]], data: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of a calibration file.

    Args:
        file: the weights; files of the same name in the other forms beside them are named too.
        views: ``{"parameters": .., "report": ..}`` by ``str(Tta)``.
        data: what it was fitted to.
    """
    twins = [file.path.with_suffix(suffix) for suffix in (".onnx", ".safetensors", ".xml")]
    weights = [{"name": p.name, "sha256": weights_hash(p)} for p in twins if p.is_file()]
    return {
        "schema": SCHEMA, "kind": "calibration", "weights": weights, "joints": list(file.joints),
        "features": list(FEATURES), "right_heads": RIGHT_HEADS, "data": data, "views": views,
    }  # fmt: skip


def reliability(chance: np.ndarray, happened: np.ndarray) -> dict[str, Any]:
    """How often what was said to be so likely happened.

    Returns:
        n, base_rate, brier, auc, ece (mean over tenths of |said - happened|, weighted by their number) and the
        tenths; None where nothing can be said.
    """
    n = len(chance)
    if n == 0:
        return {"n": 0, "base_rate": None, "brier": None, "auc": None, "ece": None, "bins": []}
    place = np.clip(np.digitize(chance, _BINS) - 1, 0, len(_BINS) - 2)
    bins = []
    for i in range(len(_BINS) - 1):
        inside = place == i
        if inside.any():
            bins.append(
                {"from": float(_BINS[i]), "to": float(_BINS[i + 1]), "n": int(inside.sum()),
                 "said": float(chance[inside].mean()), "happened": float(happened[inside].mean())}
            )  # fmt: skip
    return {
        "n": n,
        "base_rate": float(happened.mean()),
        "brier": float(np.mean((chance - happened) ** 2)),
        "auc": _auc(chance, happened),
        "ece": sum(b["n"] * abs(b["said"] - b["happened"]) for b in bins) / n,
        "bins": bins,
    }


def _auc(chance: np.ndarray, happened: np.ndarray) -> float | None:
    """Probability that one that happened was thought likelier than one that did not, ties half."""
    from scipy.stats import rankdata

    yes, no = int(happened.sum()), int((~happened).sum())
    if yes == 0 or no == 0:
        return None
    return float((rankdata(chance)[happened].sum() - yes * (yes + 1) / 2) / (yes * no))


def _platt(features: np.ndarray, target: np.ndarray, known: np.ndarray, children: np.ndarray) -> Linear:
    """Logistic model, then a sigmoid through what it says of children left out."""
    fold = np.array([_hash(child, 1) % _FOLDS for child in children])
    odds = np.full(target.shape, np.nan)
    for k in range(_FOLDS):
        rest, own = fold != k, fold == k
        if own.any() and known[rest].any():
            odds[own] = _logistic(features[rest], target[rest], known[rest])(features[own])
    use = known & np.isfinite(odds)

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        z = np.exp(p[0]) * odds[use] + p[1]  # a positive slope: surer evidence never means less
        off = expit(z) - target[use]
        value = np.logaddexp(0.0, z).sum() - z[target[use]].sum()
        return value, np.array([(off * np.exp(p[0]) * odds[use]).sum(), off.sum()])

    log_slope, shift = minimize(loss, [0.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-9, 9)]).x
    whole = _logistic(features, target, known)
    return Linear(np.exp(log_slope) * whole.weights, np.exp(log_slope) * whole.bias + shift)


def _logistic(features: np.ndarray, target: np.ndarray, known: np.ndarray) -> Linear:
    def loss(value: np.ndarray) -> tuple[float, np.ndarray]:
        return float(np.logaddexp(0.0, value).sum() - value[target[known]].sum()), expit(value) - target[
            known
        ]

    return _ridge(features, known, loss)


def _spread(samples: Samples, power: float, stretch: float = 1.0) -> tuple[Linear, float]:
    """Log standard deviation of the error in encoded widths, and how badly it fits (negative log likelihood)."""
    known = samples.known
    squared = (_whitened(samples, power, stretch)[known] ** 2).sum(axis=-1)

    def loss(log_sd: np.ndarray) -> tuple[float, np.ndarray]:
        ratio = squared * np.exp(-2.0 * log_sd) / _FREEDOM
        value = 2.0 * log_sd + (_FREEDOM + 2.0) / 2.0 * np.log1p(ratio)
        return float(value.sum()), 2.0 - (_FREEDOM + 2.0) * ratio / (1.0 + ratio)

    features = samples.evidence.features()
    fitted = _ridge(features, known, loss)
    misfit = loss(fitted(features)[known])[0]
    typical = np.median(squared * np.exp(-2.0 * fitted(features)[known]))
    return Linear(fitted.weights, fitted.bias + 0.5 * np.log(typical / (2.0 * np.log(2.0)))), misfit


def _whitened(samples: Samples, power: float, stretch: float = 1.0) -> np.ndarray:
    """``(N, K, 2)`` errors in encoded widths, in axes in which the map's shape is round."""
    xx, xy, _ = np.moveaxis(unit_shape(samples.evidence.cov_crop, power, stretch), -1, 0)
    error = samples.error_crop / samples.evidence.sigma_crop
    first = error[..., 0] / np.sqrt(xx)
    # The shape's determinant is 1, so that the second pivot of its Cholesky factor is 1 / sqrt(xx).
    second = (error[..., 1] - xy / xx * error[..., 0]) * np.sqrt(xx)
    return np.stack([first, second], axis=-1)


def _ridge(
    features: np.ndarray, known: np.ndarray, loss: Callable[[np.ndarray], tuple[float, np.ndarray]]
) -> Linear:
    """The linear model that minimises a loss of its values on the known joints ``(M,)`` -> (sum, gradient ``(M,)``)."""
    x = features[known]
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    x = (x - mean) / scale
    joint = np.nonzero(known)[1]
    joints, f = known.shape[1], x.shape[1]

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        weights, common, own = p[:f], p[f], p[f + 1 :]
        value, slope = loss(x @ weights + common + own[joint])
        value += 0.5 * (_RIDGE_WEIGHT * weights @ weights + _RIDGE_JOINT * own @ own)
        per_joint = np.bincount(joint, slope, joints)
        return value, np.concatenate(
            [slope @ x + _RIDGE_WEIGHT * weights, [slope.sum()], per_joint + _RIDGE_JOINT * own]
        )

    p = minimize(objective, np.zeros(f + 1 + joints), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    weights = p[:f] / scale
    return Linear(weights, p[f] + p[f + 1 :] - mean @ weights)


def _error_figures(calibration: Calibration, samples: Samples) -> dict[str, Any]:
    """Normalised errors: per axis a standard normal's if the covariances were right and the errors Gaussian."""
    known = samples.known
    log_sd = calibration.error(samples.evidence.features())
    unit = (_whitened(samples, calibration.shape, calibration.stretch) / np.exp(log_sd)[..., None])[known]
    squared = (unit**2).sum(axis=-1)
    groups = np.array_split(np.argsort(log_sd[known], kind="stable"), 5)
    sigma = samples.evidence.sigma_crop
    distance = np.linalg.norm(samples.error_crop, axis=-1)[known]
    return {
        "shape": calibration.shape,
        "stretch": calibration.stretch,
        "scale_of_moments": _scale_of_moments(samples),
        "median_squared": float(np.median(squared)),
        "median_squared_expected": float(2 * np.log(2)),
        "robust_sd_per_axis": [float(1.4826 * np.median(np.abs(unit[:, i]))) for i in range(2)],
        "quantiles_per_axis": {str(q): [float(v) for v in np.quantile(unit, q, axis=0)] for q in _QUANTILES},
        "within_1_sd": float((squared <= 1).mean()),
        "within_1_sd_expected": 0.3935,
        "within_2_sd": float((squared <= 4).mean()),
        "within_2_sd_expected": 0.8647,
        "fifths": [
            {"said_sd_px": float(np.exp(np.median(log_sd[known][g])) * sigma),
             "robust_sd_px": float(np.median(distance[g]) / np.sqrt(2 * np.log(2)))}
            for g in groups
        ],
    }  # fmt: skip


def _scale_of_moments(samples: Samples) -> float:
    """Robust factor from the map's own standard deviation to the error's, for comparison."""
    xx, xy, yy = np.moveaxis(samples.evidence.cov_crop, -1, 0)
    x, y = np.moveaxis(samples.error_crop, -1, 0)
    squared = (yy * x * x - 2 * xy * x * y + xx * y * y) / (xx * yy - xy * xy)
    return float(np.sqrt(np.median(squared[samples.known]) / (2 * np.log(2))))


def _hash(name: object, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")


def read_from(folder: Path) -> dict[str, str]:
    """What a data set is called in a calibration: its name and its annotations' hash."""
    digest = hashlib.sha256((folder / "annotations.json").read_bytes()).hexdigest()
    return {"name": folder.resolve().name, "sha256": digest}
