"""From chosen views to a camera: which lens model, how many coefficients, which views to leave out, how sure.

A model with more coefficients always fits its own views better. So candidates are compared on views they were not
fitted to, and the simplest one that predicts those as well as the best one does is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from heightpose.calibrate.boards import Corners
from heightpose.calibrate.bow import Bow, find_bow
from heightpose.calibrate.bundle import NOTHING, Bundle, Freedom, fit, rms
from heightpose.calibrate.views import Coverage, View, coverage
from heightpose.errors import HeightposeError
from heightpose.geometry.camera import Camera
from heightpose.words import plural

MIN_VIEWS = 5
_FOLDS = 5
_LENSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "pinhole": (("k1",), ("k1", "k2"), ("k1", "k2", "p1", "p2"), ("k1", "k2", "p1", "p2", "k3")),
    "fisheye": (("k1",), ("k1", "k2"), ("k1", "k2", "k3", "k4")),
}
#: Focal lengths to start from, as shares of the picture's longer side.
_STARTS = {"pinhole": (0.5, 0.8, 1.3, 2.2), "fisheye": (0.25, 0.32, 0.45, 0.65, 1.0)}
#: A focal length less sure than this (standard error over value) is no calibration.
_MAX_FOCAL_ERROR = 0.01
#: Lenses that fit alike and differ by more than this towards the picture's edge are no calibration, and by this little
#: worth a word. Of 130 drawn calibrations (pinholes of 43 to 88 degrees, fisheyes) 33 are refused, whose board reached
#: half of the way to the corners at most; of the others none is more than 4.5 % off at the edge (before: 1,200 %), and
#: where the board reached farther they are within 1.5 %, with a doubt of 1.2 % at most.
_MAX_EDGE_DOUBT, _TOLD_EDGE_DOUBT = 0.05, 0.03
#: A board that reached no farther says little of the edge: lenses that predict it a little worse count as alike too.
_SHORT_REACH = 0.5
#: Rays farther off the axis reach no cot; slopes of x/z, y/z.
_MOST_SLOPE = float(np.tan(np.deg2rad(60.0)))


@dataclass(frozen=True)
class Trial:
    """One candidate lens and how well it predicts views it was not fitted to."""

    model: str
    dist: tuple[str, ...]
    held_out_rms_px: float
    per_view: tuple[float, ...] = field(repr=False, default=())
    #: Fitted to all views.
    lens: Camera | None = field(repr=False, default=None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "dist": list(self.dist),
            # A lens that folds before the picture's corners predicts nothing there: JSON has no infinity.
            "held_out_rms_px": round(self.held_out_rms_px, 4) if np.isfinite(self.held_out_rms_px) else None,
        }


@dataclass(frozen=True, eq=False)
class Solution:
    """A calibrated camera and what it rests on.

    Attributes:
        bundle: the final fit; its views are ``used``.
        used, outliers: the views fitted and those left out because they disagree.
        strays: single corners left out of the views fitted: glare, a finger, a neighbour's edge.
        trials: the candidates.
        held_out_rms_px: of the chosen candidate.
        cover: where the corners were.
        edge_doubt: how far lenses that fit alike differ between the middle and the picture's edge, relative.
        advice: what is doubtful about it and what to do; empty is good.
        bow: how the board departs from flat, and what that does to the focal length.
    """

    bundle: Bundle
    used: list[View]
    outliers: list[View]
    strays: int
    trials: list[Trial]
    held_out_rms_px: float
    cover: Coverage
    edge_doubt: float
    advice: list[str]
    bow: Bow = field(default_factory=Bow)

    @property
    def camera(self) -> Camera:
        return self.bundle.camera

    @property
    def focal_error(self) -> float:
        """Standard error of the focal length over the focal length; with what a bowed or stretched board does."""
        return float(np.hypot(self.bundle.errors[0] / self.camera.K[0, 0], self.bow.focal_change))


def solve(views: Sequence[View], size_wh: tuple[int, int], models: Sequence[str]) -> Solution:
    """Calibrate.

    Args:
        views: chosen views, no two alike, at least :data:`MIN_VIEWS`.
        size_wh: of the stored pictures.
        models: lens models to try: "pinhole", "fisheye" or both.

    Raises:
        HeightposeError: the views cannot tell the lens; says what to record.
    """
    used, outliers = list(views), list[View]()
    starts = _starts(used, size_wh, models)
    strays = 0
    for _ in range(4):
        trials = [_trial(used, start, dist) for model, start in starts.items() for dist in _LENSES[model]]
        chosen = _simplest(trials)
        bundle, freedom = _final(used, starts[chosen.model], chosen.dist)
        used, dropped = _without_strays(used, bundle)
        bad = _disagreeing(bundle)
        if len(used) - bad.sum() < MIN_VIEWS or len(outliers) + bad.sum() > 0.3 * len(views):
            bad[:] = False
        if not dropped and not bad.any():
            break
        strays += dropped
        outliers += [view for view, is_bad in zip(used, bad, strict=True) if is_bad]
        used = [view for view, is_bad in zip(used, bad, strict=True) if not is_bad]
    else:
        bundle, freedom = _final(used, starts[chosen.model], chosen.dist)
    _require_fit(bundle)
    cover = coverage(used, size_wh, bundle.tilts_deg)
    bow = find_bow([view.corners for view in used], bundle, freedom)
    doubt = _edge_doubt(chosen, trials, cover)
    solution = Solution(bundle, used, outliers, strays, trials, chosen.held_out_rms_px, cover, doubt, [], bow)
    _require_determined(solution)
    return replace(solution, advice=_advice(solution))


def _starts(views: Sequence[View], size_wh: tuple[int, int], models: Sequence[str]) -> dict[str, Camera]:
    """Where to start from, for each model that is worth a trial: not a pinhole for a lens that it cannot bend to."""
    rough = {model: _start(views, size_wh, model) for model in models}
    error = {model: float(np.median(bundle.view_rms_px)) for model, bundle in rough.items()}
    limit = max(10 * min(error.values()), 3.0)
    return {model: bundle.camera for model, bundle in rough.items() if error[model] <= limit}


def _start(views: Sequence[View], size_wh: tuple[int, int], model: str) -> Bundle:
    """The best of a few rough fits: one focal length and k1, principal point in the middle."""
    boards = [v.corners for v in views]
    found = []
    for focal in _focal_guesses(views, size_wh, model):
        K = np.array([[focal, 0, (size_wh[0] - 1) / 2], [0, focal, (size_wh[1] - 1) / 2], [0, 0, 1.0]])
        camera = Camera(model, size_wh, K, np.zeros(5 if model == "pinhole" else 4))
        rough = Freedom(square=True, centre=False, dist=("k1",))
        # Poses that a wrong focal length led astray are found again under the better one.
        for _ in range(2):
            found.append(fit(boards, camera, rough, rounds=15))
            camera = found[-1].camera
    return min(found, key=lambda bundle: float(np.median(bundle.view_rms_px)))


def _focal_guesses(views: Sequence[View], size_wh: tuple[int, int], model: str) -> list[float]:
    guesses = [share * max(size_wh) for share in _STARTS[model]]
    if model == "pinhole":
        pts = [v.corners.pts_cm.astype(np.float32) for v in views]
        kpts = [v.corners.kpts.astype(np.float32)[:, None] for v in views]
        flags = cv2.CALIB_FIX_ASPECT_RATIO | cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K3
        try:
            _, K, _, _, _ = cv2.calibrateCamera(pts, kpts, size_wh, np.eye(3), np.zeros(5), flags=flags)
            if 0.1 < K[0, 0] / max(size_wh) < 20:
                return [float(K[0, 0]), *guesses[1:3]]
        except cv2.error:
            pass
    return guesses


def _trial(views: Sequence[View], start: Camera, dist: tuple[str, ...]) -> Trial:
    """Each fold's views under the lens fitted to the others; their poses are their own."""
    folds = min(_FOLDS, len(views))
    errors = np.zeros(len(views))
    # Every fold's lens and poses are close to those of all views: found once, they save most of their rounds.
    freedom = Freedom(square=True, dist=dist)
    whole = fit([v.corners for v in views], start, freedom, rounds=20)
    for fold in range(folds):
        held = np.arange(len(views)) % folds == fold
        rest = [v.corners for v, out in zip(views, held, strict=True) if not out]
        poses = whole.R[~held], whole.t_cm[~held]
        lens = fit(rest, whole.camera, freedom, rounds=8, poses=poses).camera
        if not _reaches_corners(lens):
            errors[held] = np.inf
            continue
        seen = [v.corners for v, out in zip(views, held, strict=True) if out]
        poses = whole.R[held], whole.t_cm[held]
        errors[held] = fit(seen, lens, NOTHING, rounds=8, poses=poses).view_rms_px
    # The median view's error squared: one bent board must not choose the lens.
    typical = float(np.sqrt(np.mean(np.minimum(errors, 3 * np.median(errors)) ** 2)))
    return Trial(start.model, dist, typical, tuple(errors.tolist()), whole.camera)


def _simplest(trials: list[Trial]) -> Trial:
    """The first trial that predicts as well as the best (paired, within one standard error).

    Pinholes come first, then those with fewer coefficients: a fisheye polynomial fits a narrow lens as well, but means
    nothing where no corner was.
    """
    best = min(trials, key=lambda trial: trial.held_out_rms_px)
    if not np.isfinite(best.held_out_rms_px):
        return min(trials, key=lambda trial: len(trial.dist))
    return min(_alike(trials), key=lambda t: (t.model == "fisheye", len(t.dist)))


def _alike(trials: list[Trial], errors: float = 1.0) -> list[Trial]:
    """Those that predict as well as the best, within so many standard errors of the difference by view."""
    best = min(trials, key=lambda trial: trial.held_out_rms_px)
    found = [best]
    for trial in trials:
        worse = np.minimum(np.square(trial.per_view), 1e6) - np.minimum(np.square(best.per_view), 1e6)
        if trial is not best and worse.mean() <= errors * worse.std(ddof=1) / np.sqrt(len(worse)):
            found.append(trial)
    return found


def _edge_doubt(chosen: Trial, trials: list[Trial], cover: Coverage) -> float:
    """How far the chosen lens and one of the other model that fits alike differ towards the picture's edge.

    Where no corner was each model goes its own way, and held-out views tell nothing of it: a fisheye seen in its inner
    part alone looks like a pinhole, whose rays towards the edge are twice as steep. Coefficients that a model does not
    need are no other lens: left free they go anywhere.

    Returns:
        Distance of where their rays meet a wall, over its distance from the axis; 0 where there is no other.
    """
    alike = _alike(trials, 2.0 if cover.reach < _SHORT_REACH else 1.0)
    others = [trial for trial in alike if trial.model != chosen.model]
    if not others:
        return 0.0
    other = min(others, key=lambda trial: len(trial.dist))
    if chosen.lens is None or other.lens is None:
        return 0.0
    kpts = _towards_edge(chosen.lens.size_wh)
    own, theirs = chosen.lens.undistort(kpts), other.lens.undistort(kpts)
    aside = np.minimum(np.linalg.norm(own, axis=1), np.linalg.norm(theirs, axis=1))
    seen = (aside > 0) & (aside < _MOST_SLOPE)
    apart = np.linalg.norm(own - theirs, axis=1)[seen] / aside[seen]
    return float(apart.max(initial=0.0))


def _towards_edge(size_wh: tuple[int, int]) -> np.ndarray:
    """``(N, 2)`` px on lines from near the middle of the picture to its edge."""
    middle = (np.array(size_wh) - 1) / 2
    angles = np.arange(32) * np.pi / 16
    ways = np.column_stack([np.cos(angles), np.sin(angles)])
    ways *= np.min(middle / np.maximum(np.abs(ways), 1e-9), axis=1)[:, None]
    return np.concatenate([middle + share * ways for share in np.linspace(0.3, 1.0, 15)])


def _final(views: Sequence[View], start: Camera, dist: tuple[str, ...]) -> tuple[Bundle, Freedom]:
    """All views together. Pixels are taken to be square, as they are, unless the views clearly say otherwise.

    Held square, pixels that are not can spoil the principal point: it is put in the middle only where it is not told
    with fx and fy apart either.
    """
    boards = [v.corners for v in views]
    freedom, apart = Freedom(square=True, dist=dist), Freedom(dist=dist)
    bundle = fit(boards, start, freedom)
    told = _tells_middle(bundle)
    free = fit(boards, bundle.camera if told else start, apart)
    ratio = free.camera.K[0, 0] / free.camera.K[1, 1] - 1
    sure = np.hypot(free.errors[0], free.errors[1]) / free.camera.K[0, 0]
    if abs(ratio) > max(0.005, 4 * sure) and (told or _tells_middle(free)):
        return free, apart
    if told:
        return bundle, freedom
    held = replace(freedom, centre=False)
    return fit(boards, start, held), held


def _tells_middle(bundle: Bundle) -> bool:
    """Whether a fit tells the principal point, and puts it where one may be."""
    size_wh = bundle.camera.size_wh
    sure = bundle.errors[2:4].max() <= 0.02 * np.hypot(*size_wh)
    return bool(sure and (np.abs(bundle.camera.K[:2, 2] / size_wh - 0.5) <= 0.25).all())


def _without_strays(views: Sequence[View], bundle: Bundle) -> tuple[list[View], int]:
    """The views without the corners that stand out from their own view, and how many those were."""
    kept, dropped = [], 0
    for view, residual in zip(views, bundle.residuals, strict=True):
        length = np.linalg.norm(residual, axis=1)
        good = length <= max(6.0 * float(np.median(length)), 0.6)
        if good.all() or good.mean() < 0.8:  # many: then it is the view that is wrong
            kept.append(view)
            continue
        seen = view.corners
        kept.append(replace(view, corners=Corners(seen.ids[good], seen.pts_cm[good], seen.kpts[good])))
        dropped += int((~good).sum())
    return kept, dropped


def _disagreeing(bundle: Bundle) -> np.ndarray:
    """``(V,)`` bool: views three times worse than the typical one, as a whole: the few worst corners do not count."""
    lengths = [np.sort(np.linalg.norm(r, axis=1)) for r in bundle.residuals]
    errors = np.array([np.sqrt(np.mean(length[: max(4, int(0.9 * len(length)))] ** 2)) for length in lengths])
    return errors > max(3.0 * float(np.median(errors)), 0.3)


def _reaches_corners(camera: Camera) -> bool:
    """Whether the lens model maps one to one out to the picture's corners."""
    width, height = camera.size_wh
    corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    return camera.is_one_to_one(np.array(corners, dtype=float))


def _require_fit(bundle: Bundle) -> None:
    limit = 1.5 * max(1.0, max(bundle.camera.size_wh) / 1280)
    if bundle.rms_px > limit:
        raise HeightposeError(
            "no lens fits these views",
            expected=f"an error below {limit:.1f} px",
            got=f"{bundle.rms_px:.1f} px",
            hint="Check the board's description (squares, sizes), that it is flat, and that all pictures are from "
            "one camera at one zoom; for a very wide lens try --model fisheye",
        )


def _require_determined(solution: Solution) -> None:
    sure, bow = solution.focal_error, solution.bow
    if bow.focal_change > _MAX_FOCAL_ERROR:
        raise HeightposeError(
            f"the board looks {_looks(bow)}, which spoils the focal length",
            expected=f"one sure to {100 * _MAX_FOCAL_ERROR:.0f} %",
            got=f"{100 * sure:.1f} %",
            hint=f"{_remedies(bow)} and take the pictures again",
        )
    if not (np.isfinite(sure) and sure <= _MAX_FOCAL_ERROR):
        raise HeightposeError(
            "these views do not tell the focal length",
            expected=f"a standard error below {100 * _MAX_FOCAL_ERROR:.0f} %",
            got=f"{100 * sure:.1f} % (boards tilted by up to {solution.cover.tilt_deg:.0f} degrees)",
            hint="Hold the board at 20 to 45 degrees to the picture, leaning each way, near and far",
        )
    if solution.edge_doubt > _MAX_EDGE_DOUBT:
        raise HeightposeError(
            "these views do not tell the lens towards the picture's edge",
            expected=f"lenses that fit alike to agree there to {100 * _MAX_EDGE_DOUBT:.0f} %",
            got=f"{_per_cent(solution.edge_doubt)} (the board reached {100 * solution.cover.reach:.0f} % of the way "
            "to the corners)",
            hint="Move the board into the corners and along the edges; if you know what kind of "
            "lens it is, say --model pinhole or fisheye",
        )


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %" if share <= 1.0 else "more than 100 %"


def _looks(bow: Bow) -> str:
    faults = []
    if bow.height_mm:
        faults.append(f"bowed by {bow.height_mm:.1f} mm")
    if bow.stretch:
        way = "wider" if bow.stretch > 0 else "narrower"
        faults.append(f"{100 * abs(bow.stretch):.1f} % {way} for its height than described")
    return " and ".join(faults)


def _remedies(bow: Bow) -> str:
    remedies = []
    if bow.stretch:
        remedies.append("Measure the board's squares across and down, print it so that both are right")
    if bow.height_mm:
        remedies.append(f"{'glue' if remedies else 'Glue'} the board to glass or another stiff, flat plate")
    return ", ".join(remedies)


def _advice(solution: Solution) -> list[str]:
    advice = []
    cover, camera = solution.cover, solution.camera
    if cover.reach < 0.75 or cover.share < 0.45:
        advice.append(
            f"The board reached {100 * cover.reach:.0f} % of the way to the picture's corners and "
            f"{100 * cover.share:.0f} % of the picture: move the board into the corners and along the edges."
        )
    if solution.edge_doubt > _TOLD_EDGE_DOUBT:
        advice.append(
            f"Lenses that fit these views alike differ by {_per_cent(solution.edge_doubt)} towards the picture's edge."
        )
    if cover.tilt_deg < 20:
        advice.append("The boards hardly lean: hold some at 20 to 45 degrees, leaning each way.")
    if len(solution.used) < 10:
        advice.append(f"Only {plural(len(solution.used), 'view')}: 15 to 25 make the result safer.")
    if looks := _looks(solution.bow):
        advice.append(
            f"The board looks {looks}, which makes the focal length unsure by {100 * solution.bow.focal_change:.1f} %. "
            f"{_remedies(solution.bow)} and take the pictures again."
        )
    elif solution.focal_error > 0.003:
        advice.append(
            f"The focal length is only sure to {100 * solution.focal_error:.1f} %: add tilted views."
        )
    width, height = camera.size_wh
    off = np.abs(camera.K[:2, 2] - [(width - 1) / 2, (height - 1) / 2]) / [width, height]
    if off.max() > 0.08:
        advice.append(
            "The principal point is far from the middle: was the picture cropped or digitally stabilised?"
        )
    if solution.bundle.errors[2:4].max() == 0:
        advice.append("The principal point could not be told and was put in the middle: add tilted views.")
    if solution.bundle.rms_px > 0.5 * max(1.0, max(camera.size_wh) / 1280):
        advice.append(
            "The error is larger than usual: is the board flat, the focus fixed, the picture sharp?"
        )
    return advice


def view_rms(solution: Solution) -> dict[int, tuple[float, float]]:
    """View index -> (rms px, tilt in degrees), of the views fitted and of those left out."""
    found = {
        view.index: (error, tilt)
        for view, error, tilt in zip(
            solution.used, solution.bundle.view_rms_px.tolist(), solution.bundle.tilts_deg, strict=True
        )
    }
    if solution.outliers:
        left = fit([v.corners for v in solution.outliers], solution.camera, NOTHING)
        for view, residual, tilt in zip(solution.outliers, left.residuals, left.tilts_deg, strict=True):
            found[view.index] = (rms(residual), tilt)
    return found
