"""Does the number come from the picture? True joints of held-out bodies, measured again with longer or shorter bones.

    heightpose synth --bodies --out held-out --count 60 --seed 577 --frames 8 --posture back
    python eval/longer_bones.py held-out/bodies.npz

Shanks 3 cm longer and shorter, thighs 3 cm and the trunk 2 cm longer, everything else as it was. Knees and ankles keep
their elevation, as those of legs that rest on the mattress do: they move aside. Three cameras each, clips of 8 frames,
joints without errors: what is left is how far a length is read, and how far usual proportions are believed.
"""

from __future__ import annotations

import numpy as np
from same_child_views import kind_of, length_cm, named_bodies, view

from heightpose.skeleton import INFANT

#: Height, tilt and the side it is seen from.
CAMERAS = ((150.0, 0.0, 0.0), (180.0, 15.0, 40.0), (150.0, 30.0, 240.0))
#: Bone and centimetres more of it.
CHANGES = (("shank", 3.0), ("shank", -3.0), ("thigh", 3.0), ("trunk", 2.0))
_ENDS = {
    "shank": [(f"{side}_knee", f"{side}_ankle") for side in ("left", "right")],
    "thigh": [(f"{side}_hip", f"{side}_knee") for side in ("left", "right")],
    "trunk": [("pelvis", "thorax")],
}


def longer(joints_cm: np.ndarray, bone: str, cm: float) -> np.ndarray:
    """``(T, K, 3)`` with bones that are so much longer; their ends' elevations stay, but where a bone is too steep."""
    out = joints_cm.copy()
    for start, end in _ENDS[bone]:
        first, last = INFANT.indices(start, end)
        along = joints_cm[:, last] - joints_cm[:, first]
        length, aside = np.linalg.norm(along, axis=1), np.linalg.norm(along[:, :2], axis=1)
        left = (length + cm) ** 2 - along[:, 2] ** 2
        level = (left > 0.1) & (aside > 0.1)
        times = np.sqrt(np.maximum(left, 0.0)) / np.maximum(aside, 1e-6) - 1.0
        shift = np.where(level[:, None], along * times[:, None] * [1, 1, 0], along * (cm / length)[:, None])
        out[:, INFANT.below(int(last))] += shift[:, None]
    return out


def main() -> None:
    clips = named_bodies(__doc__)["joints_cm"]
    found: dict[tuple[str, str, float], list[float]] = {}
    for clip in clips:
        for height, tilt, azimuth in CAMERAS:
            plane = view(height, tilt, azimuth, clip[..., :2].mean(axis=(0, 1)))
            usual = length_cm(clip, plane)
            for bone, cm in CHANGES:
                change = length_cm(longer(clip, bone, cm), plane) - usual
                found.setdefault((kind_of(clip), bone, cm), []).append(change)
    print(f"{'':<10}{'bone':<7}{'by, cm':>7}{'views':>7}{'measured':>10}{'sd':>7}{'within 0.5 cm':>15}")
    for (kind, bone, cm), changes in sorted(found.items()):
        values = np.array(changes)
        within = np.mean(np.abs(values - cm) <= 0.5)
        print(
            f"{kind:<10}{bone:<7}{cm:>+7.1f}{len(values):>7}{np.nanmean(values):>+10.2f}{np.nanstd(values):>7.2f}"
            f"{within:>15.0%}"
        )


if __name__ == "__main__":
    main()
