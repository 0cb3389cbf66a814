"""What the small trainings outside of Lightning go on from: a file beside their result, gone when that is there."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from heightpose.errors import ConfigError, FileFormatError
from heightpose.runtime.atomic import atomic_path

log = logging.getLogger(__name__)

#: Seconds between two savings: what a stopped training loses at most.
EVERY_S = 60.0


class Part(Protocol):
    """What has a state: a network, an optimizer, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Any, /) -> Any: ...


class Resume:
    """Saves a training loop's parts and its random numbers, and puts them back: to the bit on one processor.

    Args:
        out: the result; the file is named after it.
        settings: what the training is; another one's file is refused.
        parts: what has a state, by name.
        generator: where random numbers come from beside torch's own generator.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        parts: Mapping[str, Part],
        generator: torch.Generator | None = None,
    ) -> None:
        self.path = out.with_name(f"{out.name}.resume.ckpt")
        self._settings, self._parts, self._generator = dict(settings), parts, generator
        self._saved = time.monotonic()

    def begin(self) -> int:
        """How many steps are done: 0, or as many as a stopped training has, whose state is taken over.

        Raises:
            ConfigError: what stopped had other settings. FileFormatError: the file is damaged.
        """
        if not self.path.exists():
            return 0
        hint = f"Remove {self.path.name} to start anew, or choose another --out"
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            settings, step = dict(found["settings"]), int(found["step"])
            states, random = found["parts"], found["random"]
        except Exception as error:  # unpickling damaged bytes can raise anything
            raise FileFormatError(
                "what the training was to go on from cannot be read", where=self.path, got=type(error).__name__,
                hint=hint,
            ) from error  # fmt: skip
        names = sorted(settings.keys() | self._settings.keys())
        other = [name for name in names if settings.get(name) != self._settings.get(name)]
        if other:
            was, now = (", ".join(f"{n} {s.get(n)!r}" for n in other) for s in (settings, self._settings))
            raise ConfigError(
                "the training that stopped had other settings",
                where=self.path,
                expected=now,
                got=was,
                hint=hint,
            )
        for name, part in self._parts.items():
            part.load_state_dict(states[name])
        torch.set_rng_state(random[0])
        if self._generator is not None:
            self._generator.set_state(random[1])
        log.warning("goes on from step %d (%s)", step, self.path.name)
        return step

    def save(self, step: int) -> None:
        """Write the state after ``step`` steps, where the last writing is :data:`EVERY_S` ago."""
        if time.monotonic() - self._saved < EVERY_S:
            return
        random = [torch.get_rng_state(), *([] if self._generator is None else [self._generator.get_state()])]
        with atomic_path(self.path) as tmp:
            torch.save(
                {
                    "settings": self._settings,
                    "step": step,
                    "parts": {name: part.state_dict() for name, part in self._parts.items()},
                    "random": random,
                },
                tmp,
            )
        self._saved = time.monotonic()

    def end(self) -> None:
        """The result is written: nothing to go on from any more."""
        self.path.unlink(missing_ok=True)
