"""What the diagnostics of a run rest on: plain numbers, the content of ``diagnostics.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from heightpose.config import from_dict
from heightpose.errors import ConfigError, FileFormatError
from heightpose.textfile import read_json

DIAGNOSTICS = "diagnostics.json"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        name: for programs to tell findings apart.
        severity: 3 the run is worth nothing as it is, 2 it costs accuracy.
        seen: what was seen, with its numbers.
        advice: what to try, the most likely first.
        step: when, in optimizer steps.
    """

    name: str
    severity: int
    seen: str
    advice: tuple[str, ...]
    step: int


@dataclass(frozen=True)
class Stretch:
    """Some consecutive steps.

    Attributes:
        first, last: steps, counted from 1, ends included.
        loss: mean; None if one of them was not finite.
        lr: mean.
        update: how far one step moved the weights, as a share of their length (median over layers and steps); None
            where that was not measured.
        length: the weights' length over that at the run's start (median over layers); None where not measured.
    """

    first: int
    last: int
    loss: float | None
    lr: float
    update: float | None = None
    length: float | None = None


@dataclass(frozen=True)
class Targets:
    """What the net was told to answer, against the labels; of the training batches looked at.

    Attributes:
        samples: how many.
        peak: height of the target maps over what it should be, median; None without maps.
        map_scale, point_scale: factor from labels to targets, maps' peaks and coordinates; None where not to be told.
        off_crop: share of labelled joints off their crop; off_picture: off their picture.
        reach: how far right and down of their picture's corner labels go, as shares of its size: all but 1 % of them.
        learners: ``(K,)`` in how many people of all training pictures each joint weighs in the loss.
        plain_n, mirrored_n: ``(K,)`` labelled joints in crops that were not, and were, mirrored.
        plain_mean, mirrored_mean: ``(K, 2)`` their mean places, crop shares. sd: ``(K, 2)`` their spread in both.
    """

    samples: int = 0
    peak: float | None = None
    map_scale: float | None = None
    point_scale: float | None = None
    off_crop: float = 0.0
    off_picture: float = 0.0
    reach: float = 1.0
    learners: tuple[int, ...] = ()
    plain_n: tuple[int, ...] = ()
    mirrored_n: tuple[int, ...] = ()
    plain_mean: tuple[tuple[float, float], ...] = ()
    mirrored_mean: tuple[tuple[float, float], ...] = ()
    sd: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Swap:
    """``joint`` was predicted on ``other``'s place in a ``share`` of the ``seen`` pictures that tell them apart."""

    joint: str
    other: str
    share: float
    seen: int


@dataclass(frozen=True)
class DeadLayer:
    """``dead`` of a layer's ``channels`` give the same number everywhere in every input."""

    layer: str
    dead: int
    channels: int


@dataclass(frozen=True)
class Look:
    """One validation.

    Attributes:
        step, progress: when, in steps and as a share of the run.
        samples: validation samples that were looked at closely.
        pred_spread, true_spread: root mean square over joints of how far places vary between inputs, crop shares. Of
            a detector how much its maps do, as a share of their contrast, and 0.1.
        scale, fit: factor from truth to prediction, all joints together, and the correlation.
        mean_scale: from the truth's mean place to the prediction's, from the crop's corner; None where not measured.
        peak: of the predicted maps at seen joints, median; None where 1 is not a perfect one.
        midline_error: median error of joints on the midline, crop shares.
        swaps: for each joint the other one it is most often taken for.
        channels, dead, silent: inner channels looked at, layers with dead ones, names of dead outputs.
        score: what the run is judged by, in points. train_mean, overfit: Mean@0.1 on train, and minus validation's.
    """

    step: int
    progress: float
    samples: int = 0
    pred_spread: float = 0.0
    true_spread: float = 0.0
    scale: float = 1.0
    fit: float = 0.0
    mean_scale: float | None = None
    peak: float | None = None
    midline_error: float = 0.0
    swaps: tuple[Swap, ...] = ()
    channels: int = 0
    dead: tuple[DeadLayer, ...] = ()
    silent: tuple[str, ...] = ()
    score: float | None = None
    train_mean: float | None = None
    overfit: float | None = None


@dataclass(frozen=True)
class Evidence:
    """All of a run.

    Attributes:
        kind: "pose" or "detector".
        one_batch: whether it is the health check that learns one batch by heart.
        lr, warmup_steps, overfit_limit: settings.
        joints, flip_map: of a pose net.
        stretches, looks: in order.
        diverged: the step at which training broke off because of a loss that is not finite.
    """

    kind: str = "pose"
    one_batch: bool = False
    lr: float = 0.0
    warmup_steps: int = 0
    overfit_limit: float = 15.0
    joints: tuple[str, ...] = ()
    flip_map: tuple[int, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    targets: Targets = Targets()
    looks: tuple[Look, ...] = ()
    diverged: int | None = None


def read_evidence(path: Path) -> Evidence:
    """The evidence of a ``diagnostics.json``.

    Raises:
        FileFormatError: it cannot be read, or it is no such file.
    """
    try:
        document = read_json(path, "record of diagnostics")
        if not isinstance(document, dict) or document.get("schema") != 1:
            raise FileFormatError("not a record of diagnostics", where=path, expected="schema 1")
        return from_dict(Evidence, document.get("evidence"), str(path))
    except ConfigError as error:
        raise FileFormatError("not a record of diagnostics", where=path, got=error) from error
