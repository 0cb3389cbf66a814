"""Training configuration: one YAML file, checked strictly, into frozen dataclasses.

A setting that does not exist is an error with a suggestion, never silently ignored. Every default is here and
nowhere else; ``configs/*.yaml`` explain them.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from heightpose.errors import ConfigError
from heightpose.textfile import read_yaml

T = TypeVar("T")

#: What ``loss.kind`` may name.
LOSSES = ("heatmap", "cross_entropy", "l1", "euclidean", "smooth_l1", "wing", "oks")

#: What ``optim.freeze`` may name.
FREEZE = (
    "none", "all_but_stages_3_4", "all_but_stage4", "all_but_stage4_last_module", "all_but_stage4_exchange",
    "all_but_head",
)  # fmt: skip


def _number(default: float | int | None, low: float, high: float) -> Any:
    """A field with a range, ends included."""
    return field(default=default, metadata={"range": (low, high)})


def _numbers(default: tuple[float, ...] | None, low: float, high: float, rising: bool = False) -> Any:
    """A field of several numbers in a range; ``rising``: none smaller than the one before."""
    return field(default=default, metadata={"range": (low, high), "rising": rising})


def _choice(default: str, *choices: str) -> Any:
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True)
class DataConfig:
    """Which data: ``dirs``, or the data ``iteration`` of that name in ``iterations_root``.

    ``repeat`` has a number for each of ``dirs``, how often an epoch draws each training picture of that folder
    (0.25: a fresh random quarter of them; empty: all once). ``oversample`` multiplies that for pictures with an
    infant of a stratum's value (``{"way_up=sideways": 2.5}``; the largest factor where several apply).
    ``not_infants`` names strata's values whose people teach a detector where a body lies and which way, not that
    an infant is there (``["source=lspet"]``); pose nets learn from them as from infants. ``limit`` uses only the
    first so many training pictures (None: all). ``on_device``: keep the crops of a pose net's
    training on the GPU and vary them there, which a fast one needs to be fed (:mod:`heightpose.data.device_batches`).
    """

    dirs: tuple[str, ...] = ()
    repeat: tuple[float, ...] = ()
    oversample: dict[str, float] = field(default_factory=dict, hash=False)  # configurations are keys
    not_infants: tuple[str, ...] = ()
    iteration: str | None = None
    iterations_root: str = "iterations"
    skip_bad: bool = False
    memory_mb: float = _number(4000.0, 0, 1e7)
    limit: int | None = _number(None, 1, 1e9)
    workers: int = _number(1, 1, 64)
    on_device: bool = False


@dataclass(frozen=True)
class PoseConfig:
    """The pose net and its codec; :mod:`heightpose.models.pose_net` lists backbones and heads.

    ``joints``: all 21, or MPII's first 16 for pre-training. ``pretrained``: true downloads ImageNet weights, a
    path reads them from a file. ``heatmap_wh``: None for a quarter of the input. ``sigma``: heatmap px; of a narrower
    Gaussian than 1 px too few pixels are left to find its middle by (up to 8 px of the crop off at the border).
    ``fine_wh``: a larger input for the second look of ``infer`` at infants of whom the picture shows more than
    ``input_wh`` holds, for convolutional networks; None for one size alone. ``fine_share``: of the training batches in
    that size.
    """

    joints: str = _choice("infant", "infant", "mpii")
    backbone: str = "hrnet_w18_small"
    head: str = _choice("auto", "auto", "single", "concat", "deconv", "upsample", "stacked", "regression")
    pretrained: bool | str = False
    input_wh: tuple[int, int] = _numbers((256, 256), 8, 4096)
    heatmap_wh: tuple[int, int] | None = _numbers(None, 2, 4096)
    sigma: float = _number(2.0, 1.0, 10)
    fine_wh: tuple[int, int] | None = _numbers(None, 8, 1024)
    fine_share: float = _number(0.0, 0, 1)


@dataclass(frozen=True)
class DetectorConfig:
    """The detector net."""

    backbone: str = "mobilenetv3_small_100"
    width: int = _number(96, 8, 512)
    pretrained: bool = False


@dataclass(frozen=True)
class AugmentConfig:
    """How training samples are varied. Shares are probabilities 0..1 and are not scaled by anything.

    The two knobs of a search are RandAugment's. ``randaugment_n``: how many of the three geometric operations
    shift, scale and turn are drawn for a sample and chained. ``randaugment_m``: strength of every range, those
    of geometry and those of the pixel and noise operations (:mod:`heightpose.data.augment`): 5 leaves them as
    written, 0 makes them nothing, 10 doubles them. On top come mirror and half body by their own shares, at
    most one pixel and at most one noise operation, and occluders.
    """

    randaugment_n: int = _number(3, 0, 3)
    randaugment_m: float = _number(5.0, 0, 10)
    # geometry of pose samples, around the true box
    shift: float = _number(0.06, 0, 0.5)
    scale: tuple[float, float] = _numbers((0.85, 1.25), 0.05, 20, rising=True)
    turn_deg: float = _number(20.0, 0, 180)
    far_turn: float = _number(0.08, 0, 1)
    far_turn_deg: float = _number(60.0, 0, 180)
    flip: float = _number(0.5, 0, 1)
    half_body: float = _number(0.05, 0, 1)
    # geometry of detector samples, around the whole frame
    frame_shift: float = _number(0.15, 0, 0.5)
    frame_scale: tuple[float, float] = _numbers((0.6, 1.3), 0.05, 20, rising=True)
    upright: float = _number(0.25, 0, 1)
    negatives: float = _number(0.08, 0, 1)
    # light and colour; noise and sharpness; things in the way
    pixel: float = _number(0.7, 0, 1)
    noise: float = _number(0.5, 0, 1)
    occluder: float = _number(0.2, 0, 1)
    blanket: float = _number(0.1, 0, 1)
    # four pictures in one: a pose crop keeps its centre's quarter, a detector's frames are all labelled
    mosaic: float = _number(0.0, 0, 1)
    enabled: bool = True

    @property
    def strength(self) -> float:
        """What every range is multiplied by: 1 at ``randaugment_m`` 5."""
        return self.randaugment_m / 5.0


@dataclass(frozen=True)
class LossConfig:
    """What is minimised. ``kind`` up to ``edge_weight`` concern pose, the others the detector.

    ``heatmap`` compares maps; ``cross_entropy`` their spatial softmax; the others compare its expectation with the
    joint's place, plus ``shape`` times the cross entropy. ``oks_sigmas``: COCO's ("published"), one over the number
    of joints ("uniform"), a third of that, or those of ``oks_file``, which ``heightpose data sigmas`` measures.
    ``teacher``: weights of a better net for the same joints and heatmaps; the heatmaps to learn are the labels' and
    its answers mixed, ``teacher_share`` of the latter.
    ``balance``: how the detector's ``presence``, ``box`` and ``angle`` are weighed: those fixed numbers, or weights
    learned with the network (:mod:`heightpose.train.balance`).
    """

    kind: str = _choice("heatmap", *LOSSES)
    shape: float = _number(0.1, 0, 100)
    oks_sigmas: str = _choice("published", "published", "uniform", "third", "file")
    oks_file: str | None = None
    hidden_weight: float = _number(0.5, 0, 1)
    visible_only: bool = False
    # the skeleton's weights per joint to this power: 0 all alike, 1 as they are, 2 squared
    joint_weights: float = _number(1.0, 0, 4)
    # times this of crown, heels and toes
    edge_weight: float = _number(1.0, 0, 100)
    teacher: str | None = None
    teacher_share: float = _number(0.5, 0, 1)
    balance: str = _choice("fixed", "fixed", "uncertainty", "gradnorm")
    gradnorm_alpha: float = _number(1.5, 0, 10)
    presence: float = _number(1.0, 0, 100)
    box: float = _number(2.0, 0, 100)
    angle: float = _number(1.0, 0, 100)


@dataclass(frozen=True)
class ValidationConfig:
    """How weights are judged; changes nothing that is learned.

    ``tta`` concerns ``heightpose ablate`` alone: none, or some of flip, rotate and scale joined by commas. Validation
    within a training looks at every crop once. ``leave_out``: pictures that show somebody with one of these strata's
    values, "STRATUM=VALUE", judge nothing: photographs of many adults would choose the best weights.
    """

    decode: str = _choice("dark", "dark", "shift", "argmax")
    tta: str = "none"
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimConfig:
    """Linear warm-up, then the ``schedule`` over ``epochs`` or ``max_minutes``, whichever ends first.

    ``milestones`` (of the step schedule) are shares of the run. ``freeze``: what does not learn, see
    :func:`heightpose.train.optimise.frozen_parts`. ``norm``: whether batch normalisation takes its statistics from each
    batch, or keeps those that the weights came with, as small batches of a net that was trained on large ones need.
    """

    epochs: int = _number(60, 1, 1_000_000)
    max_minutes: float | None = _number(None, 0.001, 1e6)
    batch_size: int = _number(16, 1, 4096)
    lr: float = _number(1.5e-3, 1e-8, 1)
    final_lr: float = _number(0.005, 0, 1)
    optimizer: str = _choice("adamw", "adamw", "adam", "sgd")
    momentum: float = _number(0.9, 0, 0.9999)
    schedule: str = _choice("cosine", "cosine", "step")
    milestones: tuple[float, ...] = _numbers((0.8, 0.95), 0, 1)
    step_factor: float = _number(0.1, 0, 1)
    freeze: str = _choice("none", *FREEZE)
    norm: str = _choice("batch", "batch", "kept")
    weight_decay: float = _number(0.02, 0, 1)
    warmup_steps: int = _number(100, 0, 1_000_000)
    clip_norm: float = _number(2.0, 0, 1e6)
    ema_decay: float = _number(0.998, 0, 0.99999)
    val_every_epochs: int = _number(1, 1, 10_000)


@dataclass(frozen=True)
class DiagnosticsConfig:
    """When a run is told that something is wrong with it; changes nothing that is learned.

    ``overfit_limit``: points of Mean@0.1 that train may be above validation.
    """

    overfit_limit: float = _number(15.0, 0, 100)


@dataclass(frozen=True)
class HardwareConfig:
    """Where to compute. ``threads`` counts torch's; ``devices`` is "auto" or a number. ``compile``: translate the
    network by ``torch.compile`` first, which takes minutes and pays in long trainings on a GPU."""

    precision: str = _choice("auto", "auto", "32-true", "bf16-mixed", "16-mixed")
    accelerator: str = _choice("auto", "auto", "cpu", "gpu")
    devices: str = "auto"
    threads: int = _number(2, 1, 1024)
    channels_last: bool = True
    compile: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """Everything one training run depends on, apart from the data's content.

    ``init_new_joints``: how the output channels of joints that the weights of ``start_from`` lack begin, as a copy
    of the nearest joint's or at random.
    """

    task: str = _choice("pose", "pose", "detector")
    seed: int = _number(1, 0, 2**31 - 1)
    start_from: str | None = None
    init_new_joints: str = _choice("nearest", "nearest", "random")
    data: DataConfig = DataConfig()
    pose: PoseConfig = PoseConfig()
    detector: DetectorConfig = DetectorConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()
    optim: OptimConfig = OptimConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    hardware: HardwareConfig = HardwareConfig()

    @classmethod
    def load(cls, path: Path | str) -> TrainConfig:
        """Read and check a YAML file.

        Raises:
            ConfigError: no such file, not YAML, an unknown setting, or one of the wrong type or out of range.
        """
        document = read_yaml(path, "configuration", error=ConfigError)
        return from_dict(cls, {} if document is None else document, str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as YAML and JSON can hold them; :func:`from_dict` reads them back."""
        return _plain(dataclasses.asdict(self))


def from_dict(cls: type[T], values: Any, where: str) -> T:
    """Build a configuration dataclass from plain values.

    Raises:
        ConfigError: an unknown key (with a suggestion), a wrong type or a value out of range.
    """
    if not isinstance(values, dict):
        raise ConfigError("not a set of settings", where=where, expected="name: value", got=repr(values))
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    made = {}
    for key, value in values.items():
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, 1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Settings here are {', '.join(fields)}"
            if isinstance(key, bool):
                hint = "YAML reads on, off, yes and no as true and false: quote the name"
            raise ConfigError(f"unknown setting '{key}'", where=where, hint=hint)
        made[key] = _value(hints[key], fields[key].metadata, value, f"{where}: {key}")
    return cls(**made)


def _value(kind: Any, limits: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_dict(typing.cast(type, kind), value, where)
    if isinstance(kind, types.UnionType):
        kinds = [option for option in typing.get_args(kind) if option is not type(None)]
        if value is None and len(kinds) < len(typing.get_args(kind)):
            return None
        kind = next((option for option in kinds if type(value) is option), kinds[0])
    options = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return _tuple(options, limits, value, where)
    if typing.get_origin(kind) is dict:
        return _mapping(options[1], value, where)
    # bool is an int in Python, but `batch_size: true` is a mistake.
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value, where)
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        # YAML 1.1 reads 1e-3 as text: the dot is required there.
        hint = "Write 1.0e-3, not 1e-3" if kind is float and isinstance(value, str) else None
        raise ConfigError("wrong type", where=where, expected=kind.__name__, got=repr(value), hint=hint)
    if "range" in limits and not limits["range"][0] <= value <= limits["range"][1]:
        low, high = limits["range"]
        raise ConfigError("out of range", where=where, expected=f"{low} to {high}", got=value)
    if "choices" in limits and value not in limits["choices"]:
        close = difflib.get_close_matches(str(value), limits["choices"], 1)
        hint = f"Did you mean '{close[0]}'?" if close else None
        raise ConfigError(
            "unknown value", where=where, expected=limits["choices"], got=repr(value), hint=hint
        )
    return value


def _as_float(value: int, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError("out of range", where=where, got=f"{str(value)[:20]}...") from error


def _tuple(options: tuple[Any, ...], limits: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError("wrong type", where=where, expected="a list", got=repr(value))
    kinds = [options[0]] * len(value) if options[-1] is Ellipsis else list(options)
    if len(value) != len(kinds):
        raise ConfigError("wrong length", where=where, expected=f"{len(kinds)} values", got=repr(value))
    each = {"range": limits["range"]} if "range" in limits else {}
    made = tuple(
        _value(k, each, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))
    )
    if limits.get("rising") and list(made) != sorted(made):
        raise ConfigError("the wrong way round", where=where, expected="[smallest, largest]", got=list(made))
    return made


def _mapping(kind: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError("wrong type", where=where, expected="name: value", got=repr(value))
    return {str(k): _value(kind, {}, v, f"{where}: {k}") for k, v in value.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


#: Settings that may name a file.
FILES = (("loss", "oks_file"), ("loss", "teacher"), ("pose", "pretrained"))


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings in which files are named by their last folder and name: a path says whose machine it was."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for section, key in FILES:
        value = (found.get(section) or {}).get(key)
        if isinstance(value, str):
            path = Path(value)
            found[section][key] = "/".join(part for part in path.parts[-2:] if part != path.anchor)
    return found
