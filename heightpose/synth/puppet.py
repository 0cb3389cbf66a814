"""One child's body, posed in milliseconds, and the points of it that lying down is reckoned with.

Anny blends a child's shape anew in every forward pass; a pose needs that only once. :meth:`Puppet.pose` gives what
:meth:`heightpose.synth.body.BodyModel.pose` gives, to rounding, at a fifth of the time: bones turn about their heads
one after another, vertices follow by linear blend skinning.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from heightpose.skeleton import INFANT
from heightpose.synth.body import BodyModel, Child, PosedBody

NECK = ("neck01", "neck02", "neck03", "head")
SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")

#: Bones that move stiffly together, by the bone that turns them; ``.?`` stands for the side.
_LIMBS = {
    "upperleg01.?": ("upperleg",),
    "lowerleg01.?": ("lowerleg",),
    "foot.?": ("foot", "toe"),
    "upperarm01.?": ("upperarm",),
    "lowerarm01.?": ("lowerarm", "wrist", "finger", "metacarpal"),
}
#: Flesh samples per part, and slices in which balls that must not overlap are put along it.
_SAMPLES = {"trunk": 70, "head": 40, "upperleg01": 18, "lowerleg01": 18, "foot": 14, "upperarm01": 14}
_SAMPLES |= {"lowerarm01": 24}
#: From where on along each part (0 its own joint) balls start: thighs and upper arms overlap the trunk at their roots.
_BALLS = {
    "upperleg01": (0.5, 0.75, 0.97),
    "lowerleg01": (0.2, 0.45, 0.7, 0.95),
    "foot": (0.25, 0.75),
    "upperarm01": (0.6, 0.95),
    "lowerarm01": (0.15, 0.35, 0.55, 0.75, 0.93),
}


@dataclass(frozen=True)
class Part:
    """A stiff part of the body: rest-pose points that turn with one bone.

    Attributes:
        bone: the bone that carries it ("trunk" and "head" carry several); origin: ``(3,)`` its head.
        points: ``(N + M + K, 3)`` points of the skin, then the centres of balls that fill its bulk, then marks.
        radii: ``(M,)`` of the balls; marks: names of the marks; vertices: ``(N + M + K,)`` the vertex each point is or
        is nearest to.
    """

    bone: str
    origin: np.ndarray
    points: np.ndarray
    radii: np.ndarray
    marks: tuple[str, ...]
    vertices: np.ndarray


class Puppet:
    """A child ready to be posed often."""

    def __init__(self, model: BodyModel, child: Child) -> None:
        self.model = model
        self.child = child
        self.rest_vertices, self.rest_heads = model.rest(child)
        self.rest_joints = model.joints(self.rest_vertices, self.rest_heads)
        chosen = _vertices_of_parts(model)
        self.parts = {bone: self._part(bone, chosen[bone]) for bone in chosen if bone != "neck"}

    def head_of(self, bone: str) -> np.ndarray:
        """Where a bone turns in the rest pose, ``(3,)`` cm."""
        return self.rest_heads[self.model.bone(bone)]

    def transforms(self, rotations: dict[str, np.ndarray]) -> np.ndarray:
        """``(B, 3, 4)`` rest pose to pose for every bone, from turns about rest-pose axes by bone name."""
        out = np.zeros((len(self.model.bones), 3, 4))
        for k, (bone, parent) in enumerate(zip(self.model.bones, self.model.parents, strict=True)):
            before = out[parent] if parent >= 0 else np.eye(3, 4)
            if bone in rotations:
                turn, head = rotations[bone], self.rest_heads[k]
                out[k, :, :3] = before[:, :3] @ turn
                out[k, :, 3] = before[:, :3] @ (head - turn @ head) + before[:, 3]
            else:
                out[k] = before
        return out

    def pose(self, rotations: dict[str, np.ndarray]) -> PosedBody:
        """The posed body in its body frame, as :meth:`heightpose.synth.body.BodyModel.pose`."""
        moves = self.transforms(rotations)
        vertices = self.skinned(moves, slice(None))
        heads = np.einsum("bij,bj->bi", moves[:, :, :3], self.rest_heads) + moves[:, :, 3]
        return PosedBody(vertices, self.model.joints(vertices, heads))

    def skinned(self, moves: np.ndarray, which: np.ndarray | slice) -> np.ndarray:
        """Some vertices, moved by bone transforms ``(B, 3, 4)``."""
        blend = (self.model.skin_weights[which] @ moves.reshape(len(moves), 12)).reshape(-1, 3, 4)
        return np.einsum("vij,vj->vi", blend[:, :, :3], self.rest_vertices[which]) + blend[:, :, 3]

    def skinned_points(self, part: str, moves: np.ndarray) -> np.ndarray:
        """A part's points, each moved as the skin nearest to it, ``(N, 3)``."""
        of = self.parts[part]
        blend = (self.model.skin_weights[of.vertices] @ moves.reshape(len(moves), 12)).reshape(-1, 3, 4)
        return np.einsum("vij,vj->vi", blend[:, :, :3], of.points) + blend[:, :, 3]

    def _part(self, bone: str, chosen: np.ndarray) -> Part:
        kind, _, suffix = bone.partition(".")
        origin = self.head_of("root" if kind == "trunk" else bone)
        cloud = self.rest_vertices[chosen]
        flesh = cloud[_spread(cloud, _SAMPLES[kind])]
        if kind == "trunk":
            balls, radii = _trunk_balls(cloud, self.rest_vertices[_vertices_of_parts(self.model)["neck"]])
        elif kind == "head":
            balls, radii = _head_balls(cloud)
        else:
            balls, radii = _limb_balls(cloud, origin, _BALLS[kind])
        marks = self._marks(kind, suffix)
        points = np.concatenate([flesh, balls, np.array(list(marks.values())).reshape(-1, 3)])
        nearest = cKDTree(cloud).query(points)[1]
        return Part(bone, origin, points, radii, tuple(marks), np.flatnonzero(chosen)[nearest])

    def _marks(self, kind: str, suffix: str) -> dict[str, np.ndarray]:
        """Single points of a part that the solver asks for by name."""
        side = {"L": "left", "R": "right"}.get(suffix, "")
        if kind == "foot":
            return {n: self.rest_joints[INFANT.index(n)] for n in (f"{side}_heel", f"{side}_toe")}
        if kind == "lowerarm01":
            return {f"{side}_knuckle": self.head_of(f"finger3-1.{suffix}")}
        if kind == "head":
            return {"crown": self.rest_joints[INFANT.index("crown")], "mouth": self.head_of("oris05")}
        return {}


@lru_cache(maxsize=1)
def _vertices_of_parts(model: BodyModel) -> dict[str, np.ndarray]:
    """``(V,)`` which vertices are a part's, by its bone, and the neck's: the same for every child."""
    names = np.array(model.bones)[model.vertex_bone]
    trunk = ("root", "pelvis", "spine", "clavicle", "shoulder01")
    out = {
        "trunk": np.array([name.startswith(trunk) for name in names]),
        "head": np.isin(names, [model.bones[k] for k in _below(model, "head")]),
        "neck": np.char.startswith(names, "neck"),
    }
    for suffix in "LR":
        for pattern, prefixes in _LIMBS.items():
            own = [k for k, b in enumerate(model.bones) if b.startswith(prefixes) and b.endswith(suffix)]
            strength = np.asarray(model.skin_weights[:, own].sum(axis=1)).ravel()
            out[pattern.replace("?", suffix)] = strength > 0.75
    return out


def _below(model: BodyModel, top: str) -> list[int]:
    """A bone and all that hang on it."""
    found = [model.bone(top)]
    for k, parent in enumerate(model.parents):
        if parent in found:
            found.append(k)
    return found


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """Indices of ``count`` points far from each other (farthest point sampling), the lowest and the last among them."""
    chosen = [int(points[:, 2].argmin())]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def _limb_balls(
    cloud: np.ndarray, origin: np.ndarray, along: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Balls that fill slices of a limb at the given shares of its reach from its joint."""
    axis = cloud.mean(axis=0) - origin
    axis = axis / np.linalg.norm(axis)
    depth = (cloud - origin) @ axis
    reach = depth.max()
    balls, radii = [], []
    for share in along:
        ring = cloud[np.argsort(np.abs(depth - share * reach))[: max(12, len(cloud) // 12)]]
        centre = ring.mean(axis=0)
        across = ring - centre - ((ring - centre) @ axis)[:, None] * axis
        balls.append(centre)
        radii.append(np.linalg.norm(across, axis=1).mean())
    return np.array(balls), np.array(radii)


def _trunk_balls(cloud: np.ndarray, neck: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of balls as thick as the trunk is deep, and one in the neck."""
    balls, radii = [], []
    levels = np.quantile(cloud[:, 2], [0.08, 0.3, 0.5, 0.7, 0.88])
    for level in levels:
        ring = cloud[np.abs(cloud[:, 2] - level) < 1.0]
        low, high = np.quantile(ring, 0.03, axis=0), np.quantile(ring, 0.97, axis=0)
        radius = (high[1] - low[1]) / 2
        offset = max((high[0] - low[0]) / 2 - radius, 0.0)
        middle = (low + high) / 2
        for side in (-1.0, 1.0):
            balls.append([middle[0] + side * offset, middle[1], level])
            radii.append(radius)
    balls.append(neck.mean(axis=0))
    radii.append(float(np.ptp(neck[:, 0]) / 2))
    return np.array(balls), np.array(radii)


def _head_balls(cloud: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Three balls from face to back of the head, as wide as the head."""
    low, high = np.quantile(cloud, 0.01, axis=0), np.quantile(cloud, 0.99, axis=0)
    radius = (high[0] - low[0]) / 2
    middle = (low + high) / 2
    reach = max((high[1] - low[1]) / 2 - radius, 0.0)
    balls = [[middle[0], middle[1] + step * reach, middle[2]] for step in (-1.0, 0.0, 1.0)]
    return np.array(balls), np.full(3, radius)
