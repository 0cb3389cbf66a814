"""Does a camera file still fit its pictures? The board's corners under the file against a lens fitted afresh.

A lens fitted afresh always fits a little better. The file is said not to fit only when the gain is both certain (an
F-test of the residuals) and large enough to matter (pixels, or per cent of focal length): paper is never quite flat,
and with hundreds of corners a certain difference may still be a harmless one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import fdtrc  # scipy.stats, which wraps it, takes a second to import

from heightpose.calibrate.bundle import NOTHING, Bundle, Freedom, fit
from heightpose.calibrate.views import View
from heightpose.errors import FileFormatError, InputError
from heightpose.geometry.camera import Camera, FoldedLensError

MIN_CORNERS = 12
#: Enough for a verdict; more only take time.
MAX_VIEWS = 12
_LEVEL = 1e-3
_MATTERS_PX = 0.25  # at 1280 px: error of the file beyond what a fresh fit leaves
_MATTERS_FOCAL = 0.01
_FOCAL_TOLD = 0.02  # standard error from which on nothing is said of the focal length
_MATTERS_CENTRE = 0.015  # of the picture's diagonal: a crop, which the poses of the board nearly make up for
_BAD_BOARD_PX = 1.5  # at 1280 px: no lens fits
_FREEDOM = Freedom(square=True, dist=("k1",))


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        fits: whether the file still fits, as far as can be told.
        code: fits, fits_focal_unknown (nothing speaks against the file, but a focal length several per cent off would
            look the same), picture_size, folded (the lens model is none), lens, or board (nothing fits, so the lens
            cannot be judged).
        text: the answer in words, with what to do.
        numbers: what it rests on.
    """

    fits: bool
    code: str
    text: str
    numbers: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"fits": self.fits, "code": self.code, "text": self.text, **self.numbers}


def check(views: Sequence[View], camera: Camera, size_wh: tuple[int, int]) -> Verdict:
    """Judge a camera file.

    Args:
        views: sharp views of the board, no two alike, stored pixels.
        camera: the file's camera.
        size_wh: of the stored pictures.

    Raises:
        InputError: too little of the board is seen for a verdict.
    """
    try:
        camera = camera.for_frames(size_wh)
    except FoldedLensError:
        return _folded(camera)
    except FileFormatError:
        own = f"{camera.size_wh[0]}x{camera.size_wh[1]}"
        text = (
            f"the file is for pictures of {own}, these are {size_wh[0]}x{size_wh[1]} and not a plain resize of it: "
            "calibrate in this mode of the camera"
        )
        return Verdict(False, "picture_size", text, {})
    boards = [view.corners for view in views if len(view.corners.ids) >= MIN_CORNERS]
    if not boards:
        raise InputError(
            "too little of the board or sheet is seen to judge the camera file",
            expected=f"a sharp picture with at least {MIN_CORNERS} of its corners",
            got=f"{max((len(view.corners.ids) for view in views), default=0)}",
            hint="Clear the sheet, or check --sheet and --board",
        )
    if not camera.is_one_to_one(np.concatenate([board.kpts for board in boards])):
        return _folded(camera)
    under_file = fit(boards, camera, NOTHING)
    refit = fit(boards, camera, _FREEDOM, prior_sd=_prior(camera))
    return _judge(under_file, refit)


def _folded(camera: Camera) -> Verdict:
    text = (
        f"the file's distortion folds inside the picture (dist {np.round(camera.dist, 4).tolist()}, {camera.model}): "
        "towards the edge it stops growing and turns back, as no lens does. Calibrate anew, with more views out to the "
        "edges and corners, or with fewer coefficients where another program made the file"
    )
    return Verdict(False, "folded", text, {})


def _prior(camera: Camera) -> np.ndarray:
    """One view may not tell everything: what it does not tell stays near the file."""
    width = max(camera.size_wh)
    focal, centre = 0.2 * camera.K[0, 0], 0.05 * width
    return np.array([focal, focal, centre, centre, *[0.3] * len(camera.dist)])


def _judge(under_file: Bundle, refit: Bundle) -> Verdict:
    camera = under_file.camera
    scale = max(1.0, max(camera.size_wh) / 1280)
    count = sum(len(r) for r in under_file.residuals)
    tied = _FREEDOM.basis(camera.model).shape[1]
    degrees = max(2 * count - 6 * len(refit.t_cm) - tied, 1)
    before, after = under_file.rms_px**2 * count, max(refit.rms_px**2 * count, 1e-9)
    chance = float(fdtrc(tied, degrees, max(before - after, 0.0) / tied / (after / degrees)))
    gain_px = float(np.sqrt(max(before - after, 0.0) / count))
    focal = float(refit.camera.K[0, 0] / camera.K[0, 0] - 1)
    focal_sd = float(refit.errors[0] / camera.K[0, 0])
    centre = refit.camera.K[:2, 2] - camera.K[:2, 2]
    numbers = {
        "views": len(refit.t_cm),
        "corners": count,
        "rms_px": under_file.rms_px,
        "refit_rms_px": refit.rms_px,
        "excess_px": gain_px,
        "p_value": chance,
        "focal_change": focal,
        "focal_change_sd": focal_sd,
        "centre_shift_px": centre.tolist(),
    }
    shown = f"error under the file {under_file.rms_px:.2f} px, after a fresh fit {refit.rms_px:.2f} px"
    if refit.rms_px > _BAD_BOARD_PX * scale:
        text = (
            f"no lens fits these corners ({shown}): the sheet or board is bent, or it is not the one described; "
            "check its sizes and lay it flat, then check again"
        )
        return Verdict(False, "board", text, numbers)
    certain = chance < _LEVEL
    focal_off = abs(focal) > _MATTERS_FOCAL and abs(focal) > 4 * focal_sd
    moved = np.abs(centre) > np.maximum(_MATTERS_CENTRE * np.hypot(*camera.size_wh), 4 * refit.errors[2:4])
    focal_told = focal_sd <= _FOCAL_TOLD
    told = f"focal length {100 * focal:+z.1f} %, sure to {100 * focal_sd:.1f} %"
    if certain and (gain_px > _MATTERS_PX * scale or focal_off or moved.any()):
        # Where the views do not tell the focal length, the fit takes any that makes up for the rest of the lens.
        which = told if focal_told else "seen too squarely to tell how far the focal length is off"
        text = (
            f"the file no longer fits ({shown}; {which}; middle moved by {np.hypot(*centre):.0f} px): was the lens, "
            "zoom, focus or video mode changed? Calibrate again"
        )
        return Verdict(False, "lens", text, numbers)
    if not focal_told:
        text = (
            f"nothing speaks against the file ({shown}), but the focal length is not judged: the board is seen too "
            f"squarely, and one {200 * focal_sd:.0f} % off would look the same. A picture with the camera or board "
            "tilted would tell"
        )
        return Verdict(True, "fits_focal_unknown", text, numbers)
    text = f"the file fits ({shown}; {told})"
    return Verdict(True, "fits", text, numbers)
