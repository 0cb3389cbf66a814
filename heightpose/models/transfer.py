"""Start a network from one that was trained on other joints, matched by name, never by index.

A joint that the pre-trained network lacks starts as a copy of its nearest joint's output channel, weights and
bias (:data:`heightpose.skeleton.INFANT`'s ``init_from``), so before any training both give the same heatmap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heightpose.errors import ConfigError, FileFormatError
from heightpose.skeleton import INFANT

if TYPE_CHECKING:
    import torch
    from torch import nn

HEAD_WEIGHT, HEAD_BIAS = "head.out.weight", "head.out.bias"

#: The published pose HRNet calls its output layer so; its trunk has the names we have, without the prefix.
_PUBLISHED_HEAD = "final_layer."
_PUBLISHED_TRUNK = ("conv1.", "bn1.", "conv2.", "bn2.", "layer1.", "transition", "stage")


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
    """A pose network's state dict with the output layer rearranged for other joints; all else is untouched.

    Args:
        state: state dict with ``head.out.weight`` ``(len(source), C, 1, 1)`` and ``head.out.bias``.
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
    if len(state[HEAD_WEIGHT]) != len(source) or len(state[HEAD_BIAS]) != len(source):
        raise FileFormatError(
            "the checkpoint's output layer does not fit its joints",
            where=HEAD_WEIGHT,
            expected=f"{len(source)} channels",
            got=len(state[HEAD_WEIGHT]),
        )
    starts = source_of_each(source, target, init_from)
    rows = [list(source).index(starts[joint]) for joint in target]
    return {
        key: value[rows].clone() if key in (HEAD_WEIGHT, HEAD_BIAS) else value for key, value in state.items()
    }


def rename_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A published pose HRNet (Sun et al. 2019, ``head="single"``) under our names; ours pass through."""
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if key.startswith(_PUBLISHED_HEAD):
            key = "head.out." + key.removeprefix(_PUBLISHED_HEAD)
        elif key.startswith(_PUBLISHED_TRUNK):
            key = "trunk." + key
        renamed[key] = value
    return renamed


def start_from(
    model: nn.Module,
    state: Mapping[str, torch.Tensor],
    source: Sequence[str],
    target: Sequence[str] = INFANT.names,
    init_from: Mapping[str, str] = INFANT.init_from,
    *,
    copy_nearest: bool = True,
) -> TransferReport:
    """Load a pre-trained pose network's weights into a :class:`~heightpose.models.pose_net.PoseNet`.

    Whatever fits by name and shape is copied; the report says what did not. A checkpoint with the other head
    leaves the head as initialised.

    Args:
        copy_nearest: joints that the checkpoint lacks start as their nearest joint; without, as initialised.

    Raises:
        ConfigError: a target joint without anything to start from.
        FileFormatError: the checkpoint shares no trunk with the model.
    """
    state = rename_published(state)
    starts: dict[str, str] = {}
    own = model.state_dict()
    head_fits = HEAD_WEIGHT in state and state[HEAD_WEIGHT].shape[1:] == own[HEAD_WEIGHT].shape[1:]
    if head_fits:
        state = extend_head(state, source, target, init_from)
        starts = source_of_each(source, target, init_from)
        if not copy_nearest:
            new = [k for k, joint in enumerate(target) if joint not in source]
            starts = {joint: start for joint, start in starts.items() if joint in source}
            for key in (HEAD_WEIGHT, HEAD_BIAS):
                state[key][new] = own[key][new]
    fits = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    if not any(key.startswith("trunk.") for key in fits):
        raise FileFormatError(
            "the checkpoint and the model have no layer in common",
            expected=f"the backbone {getattr(model, 'arch', {}).get('backbone')}",
            hint="Name the checkpoint's own backbone in the configuration",
        )
    model.load_state_dict(fits, strict=False)
    return TransferReport(
        starts,
        tuple(sorted(fits)),
        tuple(sorted(own.keys() - fits.keys())),
        tuple(sorted(state.keys() - fits.keys())),
    )
