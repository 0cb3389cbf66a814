"""Blankets: cloth lifted over whatever lies under it, by construction nowhere below it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, grey_dilation

from heightpose.skeleton import INFANT
from heightpose.synth.viewpoint import MATTRESS_CM

EXTENTS = ("chest", "pelvis", "knees", "feet", "one leg")
_SHARES = (0.2, 0.35, 0.2, 0.1, 0.15)
_STEP = 1.2
_CLEARANCE = 0.6


@dataclass(frozen=True)
class BlanketPlan:
    """What stays the same over a clip: where it begins, how large, how skewed, its folds' seed and its fabric."""

    extent: str
    skew_deg: float
    reach_cm: float
    half_width_cm: float
    begin_cm: float
    aside_cm: float
    leg: str
    thickness_cm: float
    seed: int
    picture: np.ndarray


def plan_blanket(rng: np.random.Generator, picture: np.ndarray, extent: str | None = None) -> BlanketPlan:
    """Draw a blanket; ``extent`` one of :data:`EXTENTS`: how far up the infant it reaches."""
    extent = extent if extent is not None else str(rng.choice(EXTENTS, p=_SHARES))
    return BlanketPlan(
        extent=extent,
        skew_deg=float(rng.normal(0, 9) if rng.random() < 0.7 else rng.uniform(-40, 40)),
        reach_cm=float(rng.uniform(40, 75)),
        half_width_cm=float(rng.uniform(8, 12) if extent == "one leg" else rng.uniform(20, 34)),
        begin_cm=float(rng.uniform(-2, 3)),
        aside_cm=float(rng.normal(0, 2)),
        leg=str(rng.choice(["left", "right"])),
        thickness_cm=float(rng.uniform(0.0, 1.0)),
        seed=int(rng.integers(2**31)),
        picture=picture,
    )


def cover(joints_cm: np.ndarray, points_cm: np.ndarray, plan: BlanketPlan) -> dict:
    """Lay the blanket.

    Args:
        joints_cm: ``(K, 3)`` of the infant that is covered; points_cm: ``(N, 3)`` samples of everything that may
            lie under it (bodies and clothes, :func:`heightpose.synth.relief.surface_samples`).

    Returns:
        ``vertices`` ``(V, 3)``, ``faces``, ``uv`` and ``picture``. Between four grid points the cloth is a mean of
        their heights, and each of the four is raised over every sample in the cell: it cannot be poked through.
    """
    along, across, start, middle = _placement(joints_cm, plan)
    u = np.arange(0, plan.reach_cm, _STEP)
    v = np.arange(-plan.half_width_cm, plan.half_width_cm, _STEP)
    local = np.column_stack([points_cm[:, :2] @ along - start, points_cm[:, :2] @ across - middle])
    low = np.floor((local - [0.0, v[0]]) / _STEP).astype(int)
    needed = np.zeros((len(u), len(v)))
    for du in (0, 1):
        for dv in (0, 1):
            cell = low + [du, dv]
            inside = ((cell >= 0) & (cell < needed.shape)).all(axis=1)
            np.maximum.at(needed, tuple(cell[inside].T), points_cm[inside, 2] + _CLEARANCE)
    surface = _drape(needed, plan)
    xy = (start + u)[:, None, None] * along + (middle + v)[None, :, None] * across
    half = np.array(MATTRESS_CM) / 2 + 0.3
    held = np.clip(xy, -half, half)  # what hangs over the edge is tucked in beside the mattress
    beyond = np.linalg.norm(xy - held, axis=-1)
    surface = np.where(beyond > 2 * _STEP, np.maximum(surface - beyond, -6.0), surface)
    uv = np.stack(np.meshgrid(v / 30, u / 30), axis=-1).reshape(-1, 2)
    vertices = np.concatenate([held.reshape(-1, 2), surface.reshape(-1, 1)], axis=1)
    return {"vertices": vertices, "faces": _grid_faces(surface.shape), "uv": uv, "picture": plan.picture}


def _placement(joints_cm: np.ndarray, plan: BlanketPlan) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Directions along and across the blanket, where it starts along and its middle across."""
    joint = {n: joints_cm[i, :2] for i, n in enumerate(INFANT.names)}
    axis = joint["pelvis"] - joint["thorax"]
    down = np.arctan2(axis[1], axis[0]) + np.deg2rad(plan.skew_deg)
    along = np.array([np.cos(down), np.sin(down)])
    across = np.array([-along[1], along[0]])
    knees = (joint["left_knee"] + joint["right_knee"]) / 2
    ankles = (joint["left_ankle"] + joint["right_ankle"]) / 2
    leg_middle = (joint[f"{plan.leg}_knee"] + joint[f"{plan.leg}_ankle"]) / 2
    begin, centre = {
        "chest": (0.6 * joint["thorax"] + 0.4 * joint["pelvis"], joint["pelvis"]),
        "pelvis": (joint["pelvis"], joint["pelvis"]),
        "knees": (knees, knees),
        "feet": (0.3 * knees + 0.7 * ankles, ankles),
        "one leg": (0.4 * joint[f"{plan.leg}_hip"] + 0.6 * joint[f"{plan.leg}_knee"], leg_middle),
    }[plan.extent]
    return along, across, float(begin @ along) + plan.begin_cm, float(centre @ across) + plan.aside_cm


def _drape(needed: np.ndarray, plan: BlanketPlan) -> np.ndarray:
    """A smooth surface nowhere below ``needed``, with folds."""
    floor = grey_dilation(needed, size=(3, 3))
    surface = floor
    for _ in range(4):
        surface = np.maximum(gaussian_filter(surface, 1.6), floor)
    rng = np.random.default_rng(plan.seed)
    folds = gaussian_filter(rng.standard_normal(surface.shape), (4.0, 1.8) if rng.random() < 0.5 else 2.5)
    surface = surface + 0.5 + plan.thickness_cm + 0.5 * np.abs(folds) / max(np.abs(folds).std(), 1e-6)
    return np.maximum(gaussian_filter(surface, 0.6), needed)


def _grid_faces(shape: tuple[int, int]) -> np.ndarray:
    k = np.arange(shape[0] * shape[1]).reshape(shape)
    quads = np.stack([k[:-1, :-1], k[1:, :-1], k[1:, 1:], k[:-1, 1:]], axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
