"""Is it this sheet's file? The tags' own size, where several of them are not in their places.

Through the file of a sheet of another size most tags may still seem to be in their places, a few per cent off as a
whole, and the others are left out as bent. A fold leaves tags out that agree with each other too, and does no harm. The
tags that are kept tell: where the plane's scale is wrong, all of them come out larger than the file says, or all
smaller, by as much as lengths do. Those of a bowed sheet may as well, but no more than its bow explains, and of a
wrinkled one some are larger and some smaller.

Nothing is said of a sheet whose tags are in their places: an over-exposed one looks the same, by up to 2.7 % in
rendered clips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.sheet_bend import bent_fit

if TYPE_CHECKING:
    from heightpose.geometry.plane import Plane

#: Asked where so many tags, and this share of those seen, are left out.
_LEAST_OUT, _OUT_SHARE = 3, 0.15
#: Corners' noise makes up to about this. Believed where so many of the tags are off the same way: of 750 bowed,
#: twisted, wrinkled and folded sheets one is refused for it.
_NOISE, _NEARLY_ALL = 0.005, 0.9


def size_off(
    plane: Plane,
    camera: Camera,
    corners: np.ndarray,
    model: np.ndarray,
    size_cm: tuple[float, float],
    keep: np.ndarray,
) -> float:
    """How much larger than the sheet file says its tags are along the direction that is worst, relative.

    Args:
        plane: fitted to the tags that agree with it.
        corners: ``(M, 4, 2)`` frame pixels of all tags seen.
        model: ``(M, 4, 2)`` cm, where they are on the sheet.
        size_cm: the sheet's size across and along.
        keep: ``(M,)`` bool, which of them agree with ``plane``.

    Returns:
        Negative for smaller; 0 where few tags are left out, or it is no more than noise, a bow or wrinkles.
    """
    if (~keep).sum() < max(_LEAST_OUT, _OUT_SHARE * len(keep)):
        return 0.0
    left_px = bent_fit(plane, camera, corners[keep], model[keep], size_cm).left_px.reshape(-1, 4, 2)
    said, seen = (
        quads - quads.mean(axis=1, keepdims=True) for quads in (corners[keep] + left_px, corners[keep])
    )
    # said @ affine = seen; u the direction in the picture that is worst, v the one that it comes out in
    affine = np.linalg.lstsq(said.reshape(-1, 2), seen.reshape(-1, 2), rcond=None)[0]
    U, scales, V = np.linalg.svd(affine)
    worst = int(np.argmax(np.abs(scales - 1.0)))
    u, v, size = U[:, worst], V[worst], float(scales[worst]) - 1.0
    each = u @ (np.linalg.pinv(said) @ seen) @ v - 1.0
    sure = abs(size) > _NOISE and np.mean(each * size > 0) >= _NEARLY_ALL
    return size if sure else 0.0
