"""Nonlinear least squares for the small fits of a pose and a lens: Levenberg and Marquardt's steps, damped as Nielsen
does (Madsen, Nielsen & Tingleff, "Methods for Non-Linear Least Squares Problems", 2004, algorithm 3.16).

SciPy's ``least_squares`` does the same and more. But to import ``scipy.optimize`` takes half a second of the three from
a still to its answer, and with derivatives that are written out little is left for it to do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: With so much damping a step is next to nothing: there is no way down.
_MOST_DAMPING = 1e9


def minimise(
    residuals: Callable[[np.ndarray], np.ndarray],
    slopes: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    scale: np.ndarray,
    *,
    soft: float = np.inf,
    rounds: int = 100,
    tolerance: float = 1e-10,
) -> tuple[np.ndarray, float]:
    """The ``x`` near ``start`` with the least ``cost = residuals(x)**2 / 2``, summed.

    Args:
        residuals: ``(P,)`` to ``(N,)``.
        slopes: ``(P,)`` to ``(N, P)``, their derivatives.
        scale: ``(P,)`` sizes of the unknowns.
        soft: residuals beyond it count as :func:`soft_l1` has it, in the cost too.
        rounds: steps at most.
        tolerance: gain, as a share of the cost, below which a step is the last one.

    Returns:
        ``x`` and its cost.
    """
    x = np.asarray(start, dtype=float)
    residual, eased = soft_l1(residuals(x), soft)
    cost, damping = float(residual @ residual) / 2, 1e-3
    for _ in range(rounds):
        by = eased[:, None] * slopes(x) * scale
        normal, gradient = by.T @ by, by.T @ residual
        own = np.diag(normal)
        held = np.maximum(own, max(1e-12 * float(own.max()), 1e-30))  # also what changes nothing
        harder = 2.0
        while damping < _MOST_DAMPING:
            step = -np.linalg.solve(normal + np.diag(damping * held), gradient)
            there = x + scale * step
            then, then_eased = soft_l1(residuals(there), soft)
            gain = cost - float(then @ then) / 2
            if gain > 0:
                break
            damping, harder = damping * harder, 2.0 * harder
        else:
            break
        foretold = float(step @ (damping * held * step - gradient)) / 2
        damping = max(damping * max(1 / 3, 1 - (2 * gain / foretold - 1) ** 3), 1e-12)
        x, residual, eased, cost = there, then, then_eased, cost - gain
        if gain <= tolerance * cost:
            break
    return x, cost


def soft_l1(errors: np.ndarray, soft: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors made such that their squares grow linearly beyond ``soft`` (soft-l1; inf: never), and the derivatives of
    these."""
    root = np.sqrt(1.0 + (errors / soft) ** 2)
    return errors * np.sqrt(2.0 / (1.0 + root)), np.sqrt((1.0 + root) / 2.0) / root
