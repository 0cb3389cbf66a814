"""Which frames of a clip are looked at: every n-th, so many per second, from when to when."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from heightpose.errors import ConfigError

#: Timestamps are rounded to the container's ticks: a frame this close before a due time is the due one.
_EARLY_S = 2e-3


@dataclass(frozen=True)
class Selection:
    """A choice among frames by their index and time, which counts from the clip's first frame.

    Attributes:
        every: frames 0, every, 2 * every, ... as decoded.
        fps: at most so many frames per second, evenly by the frames' own times; None for all.
        start_s, end_s: only frames with start_s <= t_s <= end_s; None for no bound.

    Raises:
        ConfigError: ``every`` and ``fps`` together, or an end before the start.
    """

    every: int = 1
    fps: float | None = None
    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and self.every != 1:
            raise ConfigError("--every and --fps both choose frames", hint="Give one of them")
        if self.end_s is not None and self.end_s < (0.0 if self.start_s is None else self.start_s):
            raise ConfigError(
                "nothing lies between --start and --end",
                expected="an end that is not before the start",
                got=self.span,
            )

    @property
    def span(self) -> str:
        """From when to when, for messages."""
        start = 0.0 if self.start_s is None else self.start_s
        return f"from {start:g} s on" if self.end_s is None else f"{start:g} s to {self.end_s:g} s"

    def of_a_pass(self) -> tuple[Callable[[int, float], bool], Callable[[float], bool]]:
        """(:meth:`chooser`, :meth:`is_past`) for one pass over a clip, taking the frames' own times.

        A recording may begin at any time of its own, as a part cut out of a transport stream does.
        """
        zero: float | None = None

        def since_first(t_s: float) -> float:
            nonlocal zero
            zero = t_s if zero is None else zero
            return t_s - zero

        wanted = self.chooser()
        return lambda index, t_s: wanted(index, since_first(t_s)), lambda t_s: self.is_past(since_first(t_s))

    def chooser(self) -> Callable[[int, float], bool]:
        """A function of (index, t_s), to be asked once for every frame in turn, that says whether to look at it."""
        slot = -math.inf

        def wanted(index: int, t_s: float) -> bool:
            nonlocal slot
            start = 0.0 if self.start_s is None else self.start_s
            if (self.start_s is not None and t_s < start - _EARLY_S) or self.is_past(t_s):
                return False
            if self.fps is None:
                return index % self.every == 0
            now = math.floor((t_s - start + _EARLY_S) * self.fps)
            if now <= slot:
                return False
            slot = now
            return True

        return wanted

    def is_past(self, t_s: float) -> bool:
        """Whether this frame and all that follow lie behind the end."""
        return self.end_s is not None and t_s > self.end_s + _EARLY_S

    def expected(self, frames: int | None, fps: float | None) -> int | None:
        """About how many of ``frames`` frames at ``fps`` are chosen; for progress only, None where unknown."""
        if frames is None:
            return None
        if fps:
            start = min(0.0 if self.start_s is None else self.start_s, frames / fps)
            end = frames / fps if self.end_s is None else min(self.end_s, frames / fps)
            frames = max(0, math.ceil((end - start) * fps))
            if self.fps is not None:
                frames = min(frames, math.ceil((end - start) * self.fps))
        return -(-frames // self.every)
