"""The joints: one frozen object that every other module derives its indices from.

MPII's 16 joints in MPII's order, then the edge joints that crown-heel length needs. Nothing else in the
project types a joint index; flip pairs come from the ``left_`` / ``right_`` names and are checked to be an
involution when the skeleton is built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

MPII_JOINTS = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "pelvis",
    "thorax",
    "upper_neck",
    "head_top",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)

#: Edge joints and the pre-trained joint each one's output channel starts from.
EDGE_JOINTS = {
    "crown": "head_top",
    "left_heel": "left_ankle",
    "right_heel": "right_ankle",
    "left_toe": "left_ankle",
    "right_toe": "right_ankle",
}

_PARENTS = {
    "thorax": "pelvis",
    "upper_neck": "thorax",
    "head_top": "upper_neck",
    "crown": "upper_neck",
    "left_hip": "pelvis",
    "left_knee": "left_hip",
    "left_ankle": "left_knee",
    "left_heel": "left_ankle",
    "left_toe": "left_ankle",
    "left_shoulder": "thorax",
    "left_elbow": "left_shoulder",
    "left_wrist": "left_elbow",
}
_PARENTS |= {
    child.replace("left_", "right_"): parent.replace("left_", "right_")
    for child, parent in _PARENTS.items()
    if child.startswith("left_")
}

_HEIGHT_JOINTS = frozenset(
    ["crown", "upper_neck", "thorax", "pelvis"]
    + [f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "heel")]
)


def mirror_name(name: str) -> str:
    """The name of the same joint on the other side of the body; midline joints map to themselves."""
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    if name.startswith("right_"):
        return "left_" + name.removeprefix("right_")
    return name


def part_of(name: str) -> str:
    """The joint without its side: ``left_knee`` is a ``knee``; midline joints keep their name."""
    return name.removeprefix("left_").removeprefix("right_")


@dataclass(frozen=True)
class Skeleton:
    """An ordered set of named joints.

    Attributes:
        names: joint names, the order of every ``(K, ...)`` array in the project.
        init_from: for a joint that a pre-trained net lacks, the joint its output channel is copied from.
        loss_weights: per-joint weight in the training loss, ``(K,)``.

    Raises:
        ValueError: names repeat, a side joint has no mirror image, or the flip map is not an involution.
    """

    names: tuple[str, ...]
    init_from: dict[str, str] = field(default_factory=dict, hash=False)
    loss_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"joint names repeat: {self.names}")
        missing = [n for n in self.names if mirror_name(n) not in self.names]
        if missing:
            raise ValueError(f"joints without a mirror image: {missing}")
        flip = self.flip_map
        if not np.array_equal(flip[flip], np.arange(len(self.names))):
            raise ValueError(f"the flip map is not an involution: {flip.tolist()}")
        if not self.loss_weights:
            object.__setattr__(self, "loss_weights", (1.0,) * len(self.names))
        if len(self.loss_weights) != len(self.names):
            raise ValueError(f"expected {len(self.names)} loss weights, got {len(self.loss_weights)}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Index of a joint by name. Raises KeyError naming the joints there are."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(f"no joint '{name}'; joints are {', '.join(self.names)}") from None

    def indices(self, *names: str) -> np.ndarray:
        """Indices of several joints, ``(len(names),)`` int."""
        return np.array([self.index(n) for n in names], dtype=np.intp)

    @cached_property
    def flip_map(self) -> np.ndarray:
        """``(K,)`` int: ``kpts[..., flip_map, :]`` relabels the joints of a mirrored picture."""
        return np.array([self.names.index(mirror_name(n)) for n in self.names], dtype=np.intp)

    @cached_property
    def parents(self) -> np.ndarray:
        """``(K,)`` int: index of each joint's parent, -1 for the root or where the parent is absent."""
        return np.array(
            [self.names.index(_PARENTS[n]) if _PARENTS.get(n) in self.names else -1 for n in self.names],
            dtype=np.intp,
        )

    def below(self, joint: int) -> list[int]:
        """The index of a joint and of all that hang on it: what moves with it."""
        children = np.flatnonzero(self.parents == joint)
        return [joint, *(k for child in children for k in self.below(int(child)))]

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) pairs to draw, head_top left out where crown says the same."""
        skip = {"head_top"} if "crown" in self.names else set()
        return tuple((k, int(p)) for k, p in enumerate(self.parents) if p >= 0 and self.names[k] not in skip)

    @cached_property
    def height_joints(self) -> np.ndarray:
        """Indices of the joints that carry crown-heel length, ascending."""
        return np.array([i for i, n in enumerate(self.names) if n in _HEIGHT_JOINTS], dtype=np.intp)

    def chain(self, side: str) -> np.ndarray:
        """The height chain of one side: crown, upper_neck, thorax, pelvis, hip, knee, ankle, heel."""
        if side not in ("left", "right"):
            raise ValueError(f"side is 'left' or 'right', got {side!r}")
        legs = [f"{side}_{part}" for part in ("hip", "knee", "ankle", "heel")]
        return self.indices("crown", "upper_neck", "thorax", "pelvis", *legs)


#: Loss weights follow MPII practice (distal joints count more) and add weight to the edge joints, which
#: decide the length and start from a neighbour's channel.
_WEIGHTS = {"knee": 1.2, "elbow": 1.2, "ankle": 1.5, "wrist": 1.5, "crown": 2.0, "heel": 2.0, "toe": 1.2}


def _weight(name: str) -> float:
    return _WEIGHTS.get(part_of(name), 1.0)


MPII = Skeleton(MPII_JOINTS)
INFANT = Skeleton(
    MPII_JOINTS + tuple(EDGE_JOINTS),
    init_from=dict(EDGE_JOINTS),
    loss_weights=tuple(_weight(n) for n in MPII_JOINTS + tuple(EDGE_JOINTS)),
)
