"""Infant bodies: Anny shapes drawn by seed, scaled to WHO length-for-age, posed, with exact joints.

Body frame (rest pose): centimetres, x to the infant's left, y to its back, z to its head.
Joint vertices and bones are those of shared definitions in the README's skeleton section (anny 0.6.2).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from heightpose.metrics.who import length_for_z
from heightpose.skeleton import INFANT

_BONE_OF_JOINT = {"hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "shoulder": "upperarm01"}
_BONE_OF_JOINT |= {"elbow": "lowerarm01", "wrist": "wrist"}
_VERTEX_OF_JOINT = {"crown": 881, "head_top": 881, "left_heel": 12410, "right_heel": 5829}
_VERTEX_OF_JOINT |= {"left_toe": 11519, "right_toe": 4917}
_MIDLINE_BONES = {"thorax": "neck01", "upper_neck": "head"}

#: How the names of the bones below the neck begin; the others are the neck's and the head's (skull, jaw, eyes, ...).
BELOW_THE_NECK = (
    "root", "pelvis", "upper", "lower", "foot", "toe", "spine", "clavicle", "shoulder", "wrist", "finger",
    "metacarpal", "breast",
)  # fmt: skip

# Local changes and the length in cm that +1 adds (-1 takes less), read off a 67 cm body. Real children's
# trunk-to-length ratio spreads about 2 % beyond what the phenotype sliders give, so each child gets its own.
_LOCAL_SPREAD = {
    "upperlegs-height-incr": 0.09,
    "lowerlegs-height-incr": 0.09,
    "torso-scale-vert-incr": 0.10,
    "head-scale-vert-incr": 0.15,
    "neck-scale-vert-incr": 0.10,
    "head-scale-horiz-incr": 0.30,
    "head-scale-depth-incr": 0.30,
    "torso-scale-horiz-incr": 0.12,
    "measure-upperarm-length-incr": 0.12,
    "measure-lowerarm-length-incr": 0.12,
    "stomach-tone-incr": 0.40,
}


@dataclass(frozen=True)
class Child:
    """One drawn child: everything needed to build its body again."""

    seed: int
    sex: str
    age_months: float
    length_cm: float
    phenotype: dict[str, float]
    local_changes: dict[str, float]
    scale: float


@dataclass(frozen=True)
class PosedBody:
    """A posed body in its body frame.

    Attributes:
        vertices_cm: ``(V, 3)``; joints_cm: ``(K, 3)`` in :data:`heightpose.skeleton.INFANT`'s order.
    """

    vertices_cm: np.ndarray
    joints_cm: np.ndarray


class BodyModel:
    """Anny's default full body, triangulated, with the local changes that vary proportions.

    The first construction on a machine takes about a minute and a half (Anny builds its cache), later ones
    several seconds.
    """

    def __init__(self) -> None:
        import torch

        warnings.filterwarnings("ignore", category=DeprecationWarning, module=".*")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import anny

            self._model = anny.create_fullbody_model(
                triangulate_faces=True,
                all_phenotypes=True,
                local_changes=list(_LOCAL_SPREAD),
                pose_parameterization="local-ref",
                skinning_method="lbs",
            )
        self._torch = torch
        self._rests: list[tuple[Any, tuple[np.ndarray, np.ndarray]]] = []
        self.bones: list[str] = list(self._model.bone_labels)
        self.faces = np.asarray(self._model.faces, dtype=np.int32)

    @cached_property
    def vertex_bone(self) -> np.ndarray:
        """``(V,)`` index into :attr:`bones` of the bone that moves each vertex most."""
        weights = self._model.vertex_bone_weights.numpy()
        indices = self._model.vertex_bone_indices.numpy()
        return indices[np.arange(len(weights)), weights.argmax(1)].astype(np.int32)

    @cached_property
    def head_vertices(self) -> np.ndarray:
        """Indices of the vertices that skull and face move, without the neck: what a head box is drawn around."""
        head = [i for i, name in enumerate(self.bones) if not name.startswith((*BELOW_THE_NECK, "neck"))]
        return np.flatnonzero(np.isin(self.vertex_bone, head))

    @cached_property
    def parents(self) -> list[int]:
        """The bone that each of :attr:`bones` hangs on; -1 for the root. Parents come first."""
        return list(self._model.bone_parents)

    @cached_property
    def skin_weights(self) -> sparse.csr_matrix:
        """``(V, B)`` how much each bone moves each vertex; rows sum to 1."""
        weights = self._model.vertex_bone_weights.numpy()
        indices = self._model.vertex_bone_indices.numpy()
        starts = np.arange(0, weights.size + 1, weights.shape[1])
        shape = (len(weights), len(self.bones))
        return sparse.csr_matrix((weights.ravel(), indices.ravel(), starts), shape=shape)

    @cached_property
    def _shapes(self) -> Any:
        """What Anny's shapes are drawn from, by age and gender; it reads its tables from files."""
        from anny.shape_distribution import SimpleShapeDistribution

        return SimpleShapeDistribution(self._model)

    def bone(self, name: str) -> int:
        return self.bones.index(name)

    def sample_child(
        self,
        seed: int,
        *,
        sex: str | None = None,
        age_months: float | None = None,
    ) -> Child:
        """Draw a child: sex, age, WHO length, shape and proportions, all from ``seed``.

        Length follows WHO length-for-age exactly (z drawn from a standard normal); Anny gives the shape for
        that age, local changes vary trunk, neck, head, thigh and shank, and one uniform scale sets the length.
        Anny's own newborns are some 6 cm too long, which the scale corrects.
        """
        torch, shapes = self._torch, self._shapes
        rng = np.random.default_rng([seed, 1])
        sex = sex if sex is not None else str(rng.choice(["female", "male"]))
        age_months = age_months if age_months is not None else float(rng.uniform(0.0, 24.0))
        z = float(np.clip(rng.standard_normal(), -2.8, 2.8))
        gender, years = float(sex == "female"), age_months / 12.0

        def around(value: float) -> object:
            low = torch.tensor(value, dtype=torch.float64)
            return torch.distributions.Uniform(low, low + 1e-6)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            shapes.morphological_age_distribution = around(years)
            shapes.gender_distribution = around(gender)
            _, drawn = shapes.sample(1)
        phenotype = {key: float(value[0]) for key, value in drawn.items()}
        local = {k: float(np.clip(rng.normal(0, s), -0.6, 0.6)) for k, s in _LOCAL_SPREAD.items()}
        length = length_for_z(sex, age_months, z)
        unscaled = Child(seed, sex, age_months, length, phenotype, local, 1.0)
        scale = length / self.crown_heel_length_cm(unscaled)
        return Child(seed, sex, age_months, length, phenotype, local, scale)

    def _forward(
        self, child: Child, rotations: dict[str, np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vertices ``(V, 3)`` and bone heads ``(B, 3)``, cm. The last two shapes' rest poses are kept: a child's scale
        is found from it, and then it is laid down from it, often beside a twin."""
        shape = (child.phenotype, child.local_changes)
        known = None if rotations else next((rest for of, rest in self._rests if of == shape), None)
        found = known or self._blend(child, rotations or {})
        if not rotations and known is None:
            self._rests = [*self._rests[-1:], (shape, found)]
        to_cm = 100.0 * child.scale
        return found[0] * to_cm, found[1] * to_cm

    def _blend(self, child: Child, rotations: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`_forward`, unscaled, m."""
        torch = self._torch
        pose = torch.eye(4, dtype=torch.float64).repeat(1, len(self.bones), 1, 1)
        for bone, matrix in rotations.items():
            pose[0, self.bone(bone), :3, :3] = torch.from_numpy(np.asarray(matrix, dtype=np.float64))
        with torch.no_grad():
            out = self._model(
                pose_parameters=pose,
                phenotype_kwargs={
                    k: torch.tensor([v], dtype=torch.float64) for k, v in child.phenotype.items()
                },
                local_changes_kwargs={
                    k: torch.tensor([v], dtype=torch.float64) for k, v in child.local_changes.items()
                },
                return_bone_ends=True,
            )
        return out["vertices"][0].numpy(), out["bone_heads"][0].numpy()

    def joints(self, vertices: np.ndarray, heads: np.ndarray) -> np.ndarray:
        """The skeleton's joints ``(K, 3)`` among posed vertices ``(V, 3)`` and bone heads ``(B, 3)``."""
        joints = np.zeros((len(INFANT), 3))
        for k, name in enumerate(INFANT.names):
            side, _, part = name.partition("_")
            if name in _VERTEX_OF_JOINT:
                joints[k] = vertices[_VERTEX_OF_JOINT[name]]
            elif name in _MIDLINE_BONES:
                joints[k] = heads[self.bone(_MIDLINE_BONES[name])]
            elif name != "pelvis":
                joints[k] = heads[self.bone(f"{_BONE_OF_JOINT[part]}.{side[0].upper()}")]
        joints[INFANT.index("pelvis")] = joints[INFANT.indices("left_hip", "right_hip")].mean(0)
        return joints

    def rest(self, child: Child) -> tuple[np.ndarray, np.ndarray]:
        """Vertices ``(V, 3)`` and bone heads ``(B, 3)`` of the rest pose, cm, body frame."""
        return self._forward(child, None)

    def pose(self, child: Child, rotations: dict[str, np.ndarray] | None = None) -> PosedBody:
        """Pose a child: ``rotations`` maps bone names to 3x3 turns about rest-pose world axes."""
        vertices, heads = self._forward(child, rotations)
        return PosedBody(vertices, self.joints(vertices, heads))

    def crown_heel_length_cm(self, child: Child) -> float:
        """Crown-heel length from the rest pose: crown to mid-hip, then each straightened leg down to its sole."""
        vertices, heads = self._forward(child, None)
        joints = self.joints(vertices, heads)

        def joint(name: str) -> np.ndarray:
            return joints[INFANT.index(name)]

        legs = []
        for side in ("left", "right"):
            hip, knee, ankle = (joint(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
            suffix = side[0].upper()
            foot_bones = [
                i for i, b in enumerate(self.bones) if b.endswith(suffix) and b.startswith(("foot", "toe"))
            ]
            foot = vertices[np.isin(self.vertex_bone, foot_bones)]
            sole_z = foot[foot[:, 1] >= ankle[1] - 1.0][:, 2].min()  # y points back: the heel part only
            legs.append(np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle) + ankle[2] - sole_z)
        return float(joint("crown")[2] - joint("pelvis")[2] + np.mean(legs))
