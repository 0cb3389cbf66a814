"""Whether the learning rate is too high or too low: how far steps move the weights, and what the loss makes of it.

A step that moves weights by a hundredth of their length learns; one by a ten-thousandth hardly can within a run, unless
the weights start good, which the loss tells. One by their whole length throws away what they were. A long warm-up hides
that: the weights grow with the rate, and it shows in their length, which a sound run changes by a few times at most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heightpose.train.observed import Evidence, Finding, Stretch

#: Steps after the warm-up before anything is said of slowness.
_FIRST = 12
#: Shares of the weights' length that a step moves them by.
_WILD, _SLOW, _STILL = 1.0, 3e-4, 1e-9
#: Times their length at the start that weights have grown to.
_GROWN = 8.0
#: The loss has hardly fallen when it is above this share of what it began with.
_HARDLY_FALLEN = 0.85
#: It has jumped when its level is so many times the lowest it had.
_JUMPED = 3.0
#: ... by at least this share of what it had come down by: near zero, or below, several-fold is nothing.
_REGAINED = 0.1


def rate_too_high(e: Evidence) -> Finding | None:
    """Steps that throw the weights about: a loss that broke off or jumped, weights that grew manyfold."""
    advice = ("a tenth of optim.lr, then a third", "a longer optim.warmup_steps, a lower optim.clip_norm")
    if e.diverged is not None:
        seen = f"the loss was not a number any more at step {e.diverged}, learning rate {_rate(e):.2g}"
        return Finding("rate-too-high", 3, seen, (*advice, "hardware.precision 32-true"), e.diverged)
    if not e.stretches:
        return None
    seen, step = "", e.stretches[-1].last
    update = max((s.update for s in e.stretches if s.update is not None), default=0.0)
    grown = next((s.length for s in reversed(e.stretches) if s.length is not None), 1.0)
    losses = [s.loss for s in e.stretches if s.loss is not None]
    if update >= _WILD:
        seen = f"one step moved the weights by {100 * update:.0f} % of their length"
    elif grown >= _GROWN:
        seen = f"the weights have grown to {grown:.3g} times their length"
    elif len(losses) >= 2 * _FIRST:
        seen = _thrown(losses)
    if not seen:
        return None
    return Finding("rate-too-high", 3, f"{seen} at a learning rate of up to {_rate(e):.2g}", advice, step)


def _thrown(losses: Sequence[float]) -> str:
    """What the loss says of steps that threw the weights about; nothing where it says nothing."""
    begun = losses[0]
    levels = [float(np.median(losses[i : i + 6])) for i in range(0, len(losses) - 5, 3)]
    lowest, highest, now = min(levels), max(levels), levels[-1]
    if now > _JUMPED * lowest and now - lowest > _REGAINED * abs(begun - lowest):
        return f"the loss had come down to {lowest:.3g} and is {now:.3g}"
    if highest > _JUMPED * begun > 0 and now > _HARDLY_FALLEN * begun:
        return f"the loss rose from {begun:.3g} to {highest:.3g} and is {now:.3g}"
    return ""


def rate_too_low(e: Evidence) -> Finding | None:
    """Steps too small to get anywhere, or none at all."""
    warm = [s for s in _warm(e) if s.lr >= 0.5 * _rate(e)]
    if _steps(warm) < _FIRST:
        return None
    update = _update(warm)
    begun, now = _losses(e, warm)
    if update is None or update > _SLOW:
        return None
    if update > _STILL and now < _HARDLY_FALLEN * begun:
        return None
    if update <= _STILL:
        seen = f"the weights do not move at all in {warm[-1].last} steps"
        advice: tuple[str, ...] = ("optim.freeze: none", "optim.lr as the configurations in configs/ have it")
    else:
        seen = (
            f"a step at learning rate {_rate(e):.2g} moves the weights by {100 * update:.1g} % of their length, "
            f"and the loss went from {begun:.3g} only to {now:.3g}"
        )
        advice = ("ten times optim.lr, and again", "a shorter optim.warmup_steps")
    return Finding("rate-too-low", 3, seen, advice, warm[-1].last)


def _warm(e: Evidence) -> list[Stretch]:
    """What came after the warm-up."""
    return [s for s in e.stretches if s.first > e.warmup_steps]


def _steps(stretches: Sequence[Stretch]) -> int:
    return sum(s.last - s.first + 1 for s in stretches)


def _rate(e: Evidence) -> float:
    """The highest rate so far."""
    return max((s.lr for s in e.stretches), default=e.lr)


def _update(stretches: Sequence[Stretch]) -> float | None:
    measured = [s.update for s in stretches if s.update is not None]
    return float(np.median(measured)) if measured else None


def _losses(e: Evidence, warm: Sequence[Stretch]) -> tuple[float, float]:
    """The loss that the run began with and its level now, medians of a few."""
    all_ = [s.loss for s in e.stretches if s.loss is not None]
    late = [s.loss for s in warm if s.loss is not None]
    if not all_ or not late:
        return float("nan"), float("nan")
    few = max(1, min(8, len(late) // 2))
    return float(np.median(all_[:3])), float(np.median(late[-few:]))
