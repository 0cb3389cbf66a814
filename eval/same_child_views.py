"""Is a child as long from wherever it is seen? True joints of held-out bodies, measured from 24 cameras each.

    heightpose synth --bodies --out held-out --count 100 --seed 577 --frames 8
    python eval/same_child_views.py held-out/bodies.npz

Cameras stand 120, 150, 180 and 220 cm above the mattress, straight above the infant and tilted by 15 and 30 degrees
from several sides. Each of a body's clips is measured as a whole, as infer would, from joints without errors: what is
left is how elevations and bent legs are read from one side or another.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from heightpose.arrays import read_arrays
from heightpose.evaluate.geometry import told_true
from heightpose.geometry.body import measure
from heightpose.geometry.camera import Camera
from heightpose.geometry.legs import legs_extended
from heightpose.geometry.plane import Plane
from heightpose.skeleton import INFANT
from heightpose.synth.posture import POSTURES
from heightpose.types import Detection, FrameResult

SIZE_WH = (1280, 720)
CAMERA = Camera("pinhole", SIZE_WH, np.array([[760.0, 0, 639.5], [0, 760.0, 359.5], [0, 0, 1]]), np.zeros(5))
HEIGHTS_CM = (120.0, 150.0, 180.0, 220.0)
#: Tilt and the side it is seen from, degrees.
DIRECTIONS = ((0, 0), (15, 40), (15, 220), (30, 0), (30, 120), (30, 240))


def view(height_cm: float, tilt_deg: float, azimuth_deg: float, target_cm: np.ndarray) -> Plane:
    """The mattress as a camera sees it that looks at ``target_cm`` on the mattress, x to the right."""
    tilt, azimuth = np.radians([tilt_deg, azimuth_deg])
    aside = height_cm * np.tan(tilt) * np.array([np.cos(azimuth), np.sin(azimuth)])
    centre = np.array([*(target_cm + aside), height_cm])
    return Plane.looking_at(centre, np.array([*target_cm, 0.0]), np.array([0.0, 1.0, 0.0]))


def frames_of(joints_cm: np.ndarray, plane: Plane) -> list[FrameResult]:
    """``(T, K, 3)`` as a pose net without errors sees them."""
    found = []
    for t, points in enumerate(joints_cm):
        kpts = plane.to_frame(CAMERA, points)
        box = Detection(np.concatenate([kpts.min(0), kpts.max(0)]), 0.0, 1.0)
        head_px = float(np.linalg.norm(np.subtract(*kpts[INFANT.indices("crown", "upper_neck")])))
        found.append(FrameResult(t, t / 5, told_true(kpts, box, head_px), 1))
    return found


def kind_of(joints_cm: np.ndarray) -> str:
    share = np.mean([legs_extended(points) for points in joints_cm])
    return "extended" if share >= 0.8 else "tucked" if share == 0 else "mixed"


def length_cm(joints_cm: np.ndarray, plane: Plane) -> float:
    """The length that is measured of ``(T, K, 3)`` joints, refused or not."""
    found = measure(frames_of(joints_cm, plane), CAMERA, plane)
    return found.length_cm or found.details.get("unreported_cm", np.nan)


def named_bodies(description: str | None) -> dict[str, np.ndarray]:
    """The arrays of the file that the command line names; ``joints_cm`` ``(N, T, K, 3)`` in double precision."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bodies", type=Path, help="bodies.npz of children that the elevation model never saw")
    data = read_arrays(parser.parse_args().bodies)
    return data | {"joints_cm": data["joints_cm"].astype(float)}


def main() -> None:
    data = named_bodies(__doc__)
    joints, posture, truth = data["joints_cm"], data["posture"], data["length_cm"]
    rows: dict[str, list[np.ndarray]] = {}
    for clip, lying, length in zip(joints, posture, truth, strict=True):
        target = clip[..., :2].mean(axis=(0, 1))
        found = []
        for height in HEIGHTS_CM:
            for tilt, azimuth in DIRECTIONS:
                plane = view(height, tilt, azimuth, target)
                found.append(length_cm(clip, plane) - length)
        name = kind_of(clip) if POSTURES[lying] == "back" else POSTURES[lying]
        rows.setdefault(name, []).append(np.array(found))
    print(
        "all in cm; sd, range and share within 0.5 cm are about a child's own mean over the views of the row"
    )
    print(f"{'':<10}{'tilts to':>9}{'children':>9}{'MAE':>7}{'sd':>7}{'range':>7}{'within 0.5 cm':>15}")
    tilts = np.tile([tilt for tilt, _ in DIRECTIONS], len(HEIGHTS_CM))
    for name in ("extended", "mixed", "tucked", "side", "front"):
        if name not in rows:
            continue
        every_view = np.stack(rows[name])
        for most in sorted(set(tilts)):
            errors = every_view[:, tilts <= most]
            own = errors - np.nanmean(errors, axis=1, keepdims=True)
            spread = np.sqrt(np.nanmean(np.nanvar(errors, axis=1)))
            middle = np.nanmedian(np.nanmax(errors, axis=1) - np.nanmin(errors, axis=1))
            near = 100 * np.mean(np.abs(own[np.isfinite(own)]) <= 0.5)
            error = np.nanmean(np.abs(errors))
            print(
                f"{name:<10}{most:>9}{len(errors):>9}{error:>7.2f}{spread:>7.2f}{middle:>7.2f}{near:>13.0f} %"
            )


if __name__ == "__main__":
    main()
