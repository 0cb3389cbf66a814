"""Start a network from one that was trained on other joints, matched by name, never by index.

A joint that the pre-trained network lacks starts as a copy of its nearest joint's output channel, weights and
bias (:data:`heightpose.skeleton.INFANT`'s ``init_from``), so before any training both give the same heatmap.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heightpose.errors import ConfigError, FileFormatError
from heightpose.skeleton import INFANT, MPII

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

log = logging.getLogger(__name__)

HEAD_WEIGHT, HEAD_BIAS = "head.out.weight", "head.out.bias"

#: The published pose HRNet calls its output layer so (timm's classifier has a ``final_layer.0`` and more); its trunk
#: has the names we have, without the prefix.
_PUBLISHED_HEAD = {"final_layer.weight": "head.out.weight", "final_layer.bias": "head.out.bias"}
_PUBLISHED_TRUNK = ("conv1.", "bn1.", "conv2.", "bn2.", "layer1.", "transition", "stage")

#: The 17 joints of published nets trained on COCO (``pose_hrnet_w48_256x192.pth`` and the like), in their order.
COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee",
    "left_ankle", "right_ankle",
)  # fmt: skip

#: What our joints that COCO lacks start from: the nearest it has; of two as near, the left one.
_COCO_NEAREST = {
    "head_top": "nose",
    "upper_neck": "nose",
    "thorax": "left_shoulder",
    "pelvis": "left_hip",
}

#: Layers with one output channel per joint (two in the regression head): the last one, and the hourglass's early.
_JOINT_OUT = re.compile(r"head\.(out|early\.\d+)\.(weight|bias)")
#: Layers that read the joints' maps: an hourglass hands its early answer on.
_JOINT_IN = re.compile(r"head\.back\.\d+\.weight")


#: Of the trunk's weights: those of another width share the first two layers of 70, and would start from nothing else.
_LEAST_SHARED = 0.2


@dataclass(frozen=True)
class TransferReport:
    """What a network took over.

    Attributes:
        joints: for each joint of the target, the joint its channel was copied from.
        copied: parameters and buffers taken over.
        fresh: those the checkpoint lacks, left as initialised.
        unused: the checkpoint's entries that the network has no place for.
    """

    joints: dict[str, str]
    copied: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def warn_of_fresh(own: Mapping[str, Tensor], taken: Mapping[str, Tensor]) -> None:
    """Say so where a network's weights (not its statistics and biases) are not all taken over."""
    weights = [name for name, value in own.items() if value.ndim >= 2]
    fresh = [name for name in weights if name not in taken]
    if fresh:
        log.warning(
            "start_from: %d of the network's %d weights are not in that file and start anew, such as %s",
            *(len(fresh), len(weights), fresh[0]),
        )


def source_of_each(
    source: Sequence[str], target: Sequence[str], init_from: Mapping[str, str] = INFANT.init_from
) -> dict[str, str]:
    """For each target joint the source joint it starts from: itself where there is one, else its neighbour.

    Raises:
        ConfigError: a joint that is neither in the source nor has a neighbour there.
    """
    result = {}
    for joint in target:
        start, seen = joint, {joint}
        while start not in source:
            if start not in init_from or init_from[start] in seen:
                raise ConfigError(
                    f"nothing to start the joint '{joint}' from",
                    expected=f"one of {', '.join(source)}",
                    hint="Name its nearest joint in init_from",
                )
            start = init_from[start]
            seen.add(start)
        result[joint] = start
    return result


def extend_head(
    state: Mapping[str, torch.Tensor],
    source: Sequence[str],
    target: Sequence[str],
    init_from: Mapping[str, str] = INFANT.init_from,
) -> dict[str, torch.Tensor]:
    """A pose network's state dict with the layers of the joints rearranged for others; all else is untouched.

    Both give the same heatmap for a joint and the one it starts from.

    Args:
        state: state dict with ``head.out.weight`` ``(len(source), C, 1, 1)`` and ``head.out.bias`` (twice as many
            rows, and no last two axes, where the network gives coordinates).
        source, target: joint names in the order of the output channels, before and after.
        init_from: nearest joint of each joint that the source lacks.

    Raises:
        ConfigError: see :func:`source_of_each`.
        FileFormatError: no output layer, or one whose size is not that of ``source``.
    """
    missing = [key for key in (HEAD_WEIGHT, HEAD_BIAS) if key not in state]
    if missing:
        raise FileFormatError(
            "not a pose network's weights", expected=missing[0], hint="Name a pose checkpoint"
        )
    per_joint = 2 if state[HEAD_WEIGHT].ndim == 2 else 1
    starts = source_of_each(source, target, init_from)
    rows = [list(source).index(starts[joint]) for joint in target]
    taken = [per_joint * row + part for row in rows for part in range(per_joint)]
    out = {}
    for key, value in state.items():
        if _JOINT_OUT.fullmatch(key):
            _require_channels(key, len(value), per_joint * len(source))
            value = value[taken].clone()
        elif _JOINT_IN.fullmatch(key):
            _require_channels(key, value.shape[1], len(source))
            value = _read_once(value, rows, [starts[joint] == joint for joint in target])
        out[key] = value
    return out


def _require_channels(key: str, got: int, expected: int) -> None:
    if got != expected:
        raise FileFormatError(
            "the checkpoint's output layer does not fit its joints",
            where=key,
            expected=f"{expected} channels",
            got=got,
        )


def _read_once(weight: torch.Tensor, rows: Sequence[int], own: Sequence[bool]) -> torch.Tensor:
    """``(C, source, 1, 1)`` to ``(C, target, 1, 1)``: a map that several joints start from counts once."""
    extended = weight.new_zeros(weight.shape[0], len(rows), *weight.shape[2:])
    read: set[int] = set()
    for place in sorted(range(len(rows)), key=lambda i: not own[i]):
        if rows[place] not in read:
            extended[:, place] = weight[:, rows[place]]
            read.add(rows[place])
    return extended


def joints_of(state: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """The joints of weights that do not name them, published ones above all: by the number of channels.

    16 are MPII's, 17 COCO's, 21 ours; of any other number ours are returned, which then will not fit.
    """
    head = rename_published(state).get(HEAD_WEIGHT)
    sets = {len(joints): joints for joints in (MPII.names, COCO, INFANT.names)}
    return INFANT.names if head is None else sets.get(len(head), INFANT.names)


def is_classifier(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether these are an ImageNet network's weights under timm's names, which have nothing of a pose net."""
    names = [key.removeprefix("module.") for key in state]
    return not any(name in _PUBLISHED_HEAD or name.startswith(("head.out", "trunk.")) for name in names)


def rename_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A published pose HRNet (Sun et al. 2019, ``head="single"``) under our names; ours pass through."""
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if key in _PUBLISHED_HEAD:
            key = _PUBLISHED_HEAD[key]
        elif key.startswith(_PUBLISHED_TRUNK):
            key = "trunk." + key
        renamed[key] = value
    return renamed


def start_from(
    model: nn.Module,
    state: Mapping[str, torch.Tensor],
    source: Sequence[str],
    target: Sequence[str] = INFANT.names,
    *,
    copy_nearest: bool = True,
) -> TransferReport:
    """Load a pre-trained pose network's weights into a :class:`~heightpose.models.pose_net.PoseNet`.

    Whatever fits by name and shape is copied; the report says what did not. A checkpoint with the other head
    leaves the head as initialised.

    Args:
        source, target: joint names in the order of the output channels; :func:`joints_of` guesses the source's.
        copy_nearest: joints that the checkpoint lacks start as their nearest joint (the skeleton's ``init_from``, and
            for COCO's 17 joints what they lack of MPII's); without, as initialised.

    Raises:
        ConfigError: a target joint without anything to start from.
        FileFormatError: the checkpoint shares no trunk with the model.
    """
    state = rename_published(state)
    init_from = {**INFANT.init_from, **(_COCO_NEAREST if tuple(source) == COCO else {})}
    starts: dict[str, str] = {}
    own = model.state_dict()
    head_fits = HEAD_WEIGHT in state and state[HEAD_WEIGHT].shape[1:] == own[HEAD_WEIGHT].shape[1:]
    if head_fits:
        state = extend_head(state, source, target, init_from)
        starts = source_of_each(source, target, init_from)
        if not copy_nearest:
            per_joint = 2 if own[HEAD_WEIGHT].ndim == 2 else 1
            new = [k for k, joint in enumerate(target) if joint not in source]
            rows = [per_joint * k + part for k in new for part in range(per_joint)]
            starts = {joint: start for joint, start in starts.items() if joint in source}
            for key in filter(_JOINT_OUT.fullmatch, own.keys() & state.keys()):
                state[key][rows] = own[key][rows]
    fits = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    trunk = [key for key, value in own.items() if key.startswith("trunk.") and value.ndim >= 2]
    if sum(key in fits for key in trunk) < max(1.0, _LEAST_SHARED * len(trunk)):
        raise FileFormatError(
            "the checkpoint and the model have no layer in common, or hardly one",
            expected=f"the backbone {getattr(model, 'arch', {}).get('backbone')}",
            hint="Name the checkpoint's own backbone in the configuration",
        )
    model.load_state_dict(fits, strict=False)
    warn_of_fresh(own, fits)
    return TransferReport(
        starts,
        tuple(sorted(fits)),
        tuple(sorted(own.keys() - fits.keys())),
        tuple(sorted(state.keys() - fits.keys())),
    )
