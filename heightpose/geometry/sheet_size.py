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

import numpy as np

from heightpose.geometry.tag_fit import TagFit

#: Asked where so many tags are left out.
_LEAST_OUT = 3
#: Corners' noise makes up to about this. Believed where so many of the tags are off the same way: of 750 bowed,
#: twisted, wrinkled and folded sheets one is refused for it.
_NOISE, _NEARLY_ALL = 0.005, 0.9


def size_off(tags: TagFit) -> float:
    """How much larger than the sheet file says its tags are along the direction that is worst, relative.

    Returns:
        Negative for smaller; 0 where few tags are left out, or it is no more than noise, a bow or wrinkles.
    """
    if not tags.leaves_out(_LEAST_OUT):
        return 0.0
    there = tags.corners[tags.keep]
    left_px = tags.bent.left_px.reshape(there.shape)
    said, seen = (quads - quads.mean(axis=1, keepdims=True) for quads in (there + left_px, there))
    # said @ affine = seen; u the direction in the picture that is worst, v the one that it comes out in
    affine = np.linalg.lstsq(said.reshape(-1, 2), seen.reshape(-1, 2), rcond=None)[0]
    U, scales, V = np.linalg.svd(affine)
    worst = int(np.argmax(np.abs(scales - 1.0)))
    u, v, size = U[:, worst], V[worst], float(scales[worst]) - 1.0
    each = u @ (np.linalg.pinv(said) @ seen) @ v - 1.0
    sure = abs(size) > _NOISE and np.mean(each * size > 0) >= _NEARLY_ALL
    return size if sure else 0.0
