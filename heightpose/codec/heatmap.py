"""Joint coordinates <-> heatmaps, encode and decode in one object that training and inference share.

Encoding is unbiased: the Gaussian sits on the joint's exact sub-pixel position. Decoding is DARK (Zhang et
al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020): smooth the map
with a Gaussian of the encoding's own width, take its logarithm, and step from the highest pixel to the
maximum of the second-order Taylor expansion there, ``mu = x - H^-1 g``. On a Gaussian that step is exact.

Where this differs from the published code:

- Smoothing near the border averages a truncated peak with the nothing outside, which pulls it inwards by up
  to a pixel. Within three sigma of the border the peak is instead fitted on the unsmoothed map: a weighted
  least squares parabola through ``log h`` with weights ``h^2`` (Guo, IEEE Signal Processing Magazine 28(5),
  2011), which uses only pixels that exist and is exact on a truncated Gaussian too.
- Where the Hessian is not negative definite (flat, ridge-like or saddle-like maps) its place is taken by
  that of the encoding's own Gaussian, ``-I / sigma^2``, and the step is limited to a pixel, instead of no
  step at all.
- The start is the highest pixel of the smoothed map, not of the raw one: one noisy pixel does not move it.

A net that was trained by the mean position of its maps (Sun et al., "Integral Human Pose Regression", ECCV 2018) is
read the way it was trained: ``decoder`` "expectation".

Spaces: ``kpts_crop`` network-input px, ``kpts_hm`` heatmap px, an integer coordinate is a pixel's centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from heightpose.geometry.crop import crop_from_hm, hm_from_crop
from heightpose.types import require_finite, require_shape

DARK, EXPECTATION = "dark", "expectation"

#: Pixels below this share of the peak belong to the background: they carry no shape, and log h is noise there.
_FLOOR = 0.02
#: A joint this many sigmas outside the map leaves no usable trace in it; the border fit covers the same reach.
_REACH_SIGMAS = 3.0
#: Share of the peak below which :meth:`HeatmapCodec.covariance` ignores a pixel.
_SPREAD_FLOOR = 0.1
#: What it answers for a single pixel, which has no width: a quarter of a heatmap pixel, and no line either.
_LEAST_SD, _MOST_CORRELATED = 0.25, 0.99


@dataclass(frozen=True)
class HeatmapCodec:
    """The pair of encoder and decoder for one network's input and output size.

    Attributes:
        input_wh: the network's input, (width, height) px.
        heatmap_wh: its heatmaps, (width, height) px.
        sigma: standard deviation of the encoded Gaussian, heatmap px.
        decoder: "dark", or "expectation" for the maps of a net that was trained by their mean position.

    Raises:
        ValueError: a size or sigma that is not positive, or no such decoder.
    """

    input_wh: tuple[int, int] = (256, 256)
    heatmap_wh: tuple[int, int] = (64, 64)
    sigma: float = 2.0
    decoder: str = DARK

    def __post_init__(self) -> None:
        for name in ("input_wh", "heatmap_wh"):
            wh = tuple(int(v) for v in getattr(self, name))
            if len(wh) != 2 or min(wh) < 1:
                raise ValueError(
                    f"{name}: expected (width, height) of at least 1 px, got {getattr(self, name)}"
                )
            object.__setattr__(self, name, wh)
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma: expected a positive number of heatmap px, got {self.sigma}")
        if self.decoder not in (DARK, EXPECTATION):
            raise ValueError(f"decoder: expected {DARK} or {EXPECTATION}, got {self.decoder!r}")

    @property
    def sigma_crop(self) -> float:
        """The Gaussian's standard deviation in crop px; geometric mean of the axes."""
        sx, sy = (i / o for i, o in zip(self.input_wh, self.heatmap_wh, strict=True))
        return float(self.sigma * np.sqrt(sx * sy))

    def encode(self, kpts_crop: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Heatmaps that the network should produce.

        Args:
            kpts_crop: ``(N, K, 2)`` px; values of joints that are not labelled are ignored, NaN included.
            labelled: ``(N, K)`` bool.

        Returns:
            heatmaps ``(N, K, h, w)`` float32, value 1 at the joint's exact position; weights ``(N, K)``
            float32, 0 where a joint is not labelled or lies so far outside that its map would be empty,
            else 1.
        """
        kpts_hm, weights = self.reachable(kpts_crop, labelled)
        w, h = self.heatmap_wh
        gx = np.exp(-0.5 * ((np.arange(w) - kpts_hm[..., :1]) / self.sigma) ** 2)
        gy = np.exp(-0.5 * ((np.arange(h) - kpts_hm[..., 1:]) / self.sigma) ** 2)
        gy *= weights[..., None]
        return gy.astype(np.float32)[..., :, None] * gx.astype(np.float32)[..., None, :], weights

    def reachable(self, kpts_crop: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What :meth:`encode` draws, before it is drawn.

        Args:
            kpts_crop, labelled: as :meth:`encode` takes them.

        Returns:
            kpts_hm ``(N, K, 2)`` float64 heatmap px, finite whether labelled or not; weights ``(N, K)`` float32, 1
            where there is something to draw.
        """
        kpts_crop = np.asarray(kpts_crop, dtype=np.float64)
        labelled = np.asarray(labelled, dtype=bool)
        require_shape("kpts_crop", kpts_crop, (None, None, 2))
        require_shape("labelled", labelled, kpts_crop.shape[:2])
        require_finite("kpts_crop of labelled joints", kpts_crop[labelled])
        w, h = self.heatmap_wh
        kpts_hm = hm_from_crop(np.where(labelled[..., None], kpts_crop, 0.0), self.input_wh, self.heatmap_wh)
        reach = _REACH_SIGMAS * self.sigma
        inside = ((kpts_hm > -reach) & (kpts_hm < np.array([w - 1, h - 1]) + reach)).all(axis=-1)
        return kpts_hm, (labelled & inside).astype(np.float32)

    def decode(self, heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sub-pixel joint positions; the module's docstring gives the method.

        Args:
            heatmaps: ``(N, K, h, w)`` float, finite.

        Returns:
            kpts_crop ``(N, K, 2)`` float64 px, always finite; scores ``(N, K)`` float64, the map's value at
            its peak clipped to 0..1: a ranking, not a probability. A map without a positive value scores 0.
        """
        maps = self._maps(heatmaps)
        if self.decoder == EXPECTATION:
            return self._expectation(maps, np.shape(heatmaps)[:2])
        smooth = self._smooth(maps)
        w, h = self.heatmap_wh
        flat = smooth.reshape(len(maps), w * h).argmax(axis=1)
        peak = np.stack([flat % w, flat // w], axis=-1)
        kpts_hm = peak.astype(np.float64)

        margin = max(2, int(np.ceil(_REACH_SIGMAS * self.sigma)))
        interior = ((peak >= margin) & (peak < np.array([w, h]) - margin)).all(axis=-1)
        # Below any real peak: nothing to refine, and the logarithm would only see rounding noise.
        usable = smooth.reshape(len(maps), w * h).max(axis=1, initial=0.0) > 1e-6
        for chosen, refine in ((interior & usable, self._taylor), (~interior & usable, self._fit)):
            if chosen.any():
                source = smooth if refine == self._taylor else maps
                kpts_hm[chosen] = refine(source[chosen], peak[chosen])

        near = np.clip(peak[:, None] + _NEIGHBOURS, 0, np.array([w, h]) - 1)
        scores = maps[np.arange(len(maps))[:, None], near[..., 1], near[..., 0]].max(axis=1)
        shape = np.shape(heatmaps)[:2]
        kpts_crop = crop_from_hm(kpts_hm, self.input_wh, self.heatmap_wh)
        return kpts_crop.reshape(*shape, 2), np.clip(scores, 0.0, 1.0).astype(np.float64).reshape(shape)

    def _expectation(self, maps: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Mean position of each map ``(M, h, w)``; the middle of one that has nothing positive, with score 0."""
        w, h = self.heatmap_wh
        mass = np.maximum(maps, 0.0).astype(np.float64)
        total = mass.sum(axis=(1, 2))
        mass[total <= 0] = 1.0
        mass /= mass.sum(axis=(1, 2), keepdims=True)
        kpts_hm = np.stack([mass.sum(axis=1) @ np.arange(w), mass.sum(axis=2) @ np.arange(h)], axis=-1)
        scores = np.where(total > 0, np.clip(maps.max(axis=(1, 2)), 0.0, 1.0), 0.0).astype(np.float64)
        kpts_crop = crop_from_hm(kpts_hm, self.input_wh, self.heatmap_wh)
        return kpts_crop.reshape(*shape, 2), scores.reshape(shape)

    def covariance(self, heatmaps: np.ndarray, kpts_crop: np.ndarray | None = None) -> np.ndarray:
        """How far each map spreads around its joint.

        Second moments of the pixels above 10 % of the peak, about the decoded position, scaled so that a
        perfect map gives sigma^2 (in crop px) on the diagonal, at the border as well. A second peak, say
        the other leg, makes it large. It ranks joints by certainty; it is not a calibrated error
        covariance.

        Args:
            heatmaps: ``(N, K, h, w)`` float, finite.
            kpts_crop: ``(N, K, 2)`` what :meth:`decode` returned for them; computed when left out.

        Returns:
            ``(N, K, 3)`` float64 xx, xy, yy in crop px^2, positive definite.
        """
        if kpts_crop is None:
            kpts_crop, _ = self.decode(heatmaps)
        maps = self._maps(heatmaps)
        w, h = self.heatmap_wh
        flat = maps.reshape(len(maps), -1)
        top = np.maximum(flat.max(axis=1, initial=0.0), 0.0)
        mass = np.where(flat >= np.maximum(_SPREAD_FLOOR * top, 1e-12)[:, None], flat, np.float32(0.0))
        # A map without any peak says nothing about the place: as wide as the map itself.
        mass[top <= 0] = 1.0
        total, mx, my, mxx, mxy, myy = (mass @ self._moments).astype(np.float64).T
        at = hm_from_crop(kpts_crop, self.input_wh, self.heatmap_wh).reshape(-1, 2)
        x, y = (at - (np.array([w, h]) - 1) / 2).T
        # Moments about the joint out of those about the map's centre: E (X - x)(Y - y).
        xx = mxx / total - 2 * x * mx / total + x * x
        yy = myy / total - 2 * y * my / total + y * y
        xy = mxy / total - x * my / total - y * mx / total + x * y
        # Variance of a 2D Gaussian cut at a share t of its peak: sigma^2 (1 - (1 + U) t) / (1 - t), U = -log t.
        cut = (1 - (1 - np.log(_SPREAD_FLOOR)) * _SPREAD_FLOOR) / (1 - _SPREAD_FLOOR)
        sx, sy = (i / o for i, o in zip(self.input_wh, self.heatmap_wh, strict=True))
        xx, yy = (np.maximum(v / cut, _LEAST_SD**2) for v in (xx, yy))
        most = _MOST_CORRELATED * np.sqrt(xx * yy)
        xy = np.clip(xy / cut, -most, most)
        cov = np.stack([xx * sx * sx, xy * sx * sy, yy * sy * sy], axis=-1)
        return cov.reshape(*np.shape(heatmaps)[:2], 3)

    @cached_property
    def _moments(self) -> np.ndarray:
        """``(h * w, 6)`` float32: 1, x, y, x^2, x y, y^2 of each pixel from the map's centre."""
        w, h = self.heatmap_wh
        y, x = (v.ravel() for v in np.mgrid[:h, :w])
        x, y = x - (w - 1) / 2, y - (h - 1) / 2
        return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).astype(np.float32)

    def _maps(self, heatmaps: np.ndarray) -> np.ndarray:
        """``(N, K, h, w)`` -> ``(N * K, h, w)`` float32, checked."""
        # Contiguous: what torch returns may be channels-last, which OpenCV does not write into.
        heatmaps = np.ascontiguousarray(heatmaps, dtype=np.float32)
        w, h = self.heatmap_wh
        require_shape("heatmaps", heatmaps, (None, None, h, w))
        require_finite("heatmaps", heatmaps)
        return heatmaps.reshape(-1, h, w)

    @cached_property
    def _kernel(self) -> tuple[np.ndarray, np.ndarray]:
        """The smoothing kernel ``(2r + 1, 1)`` and the share of it that lies inside the map, ``(h, w)``."""
        radius = max(1, int(np.ceil(3.0 * self.sigma)))
        kernel = cv2.getGaussianKernel(2 * radius + 1, self.sigma, cv2.CV_32F)
        ones = np.ones(self.heatmap_wh[::-1], dtype=np.float32)
        return kernel, cv2.sepFilter2D(ones, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT)

    def _smooth(self, maps: np.ndarray) -> np.ndarray:
        kernel, inside = self._kernel
        out = np.empty_like(maps)
        for source, target in zip(maps, out, strict=True):
            cv2.sepFilter2D(source, -1, kernel, kernel, dst=target, borderType=cv2.BORDER_CONSTANT)
        return out / inside

    def _taylor(self, smooth: np.ndarray, peak: np.ndarray) -> np.ndarray:
        """DARK's step on smoothed maps ``(M, h, w)`` from their highest pixels ``(M, 2)``, off the border."""
        rows = np.arange(len(smooth))[:, None, None]
        span = np.arange(-2, 3)
        patch = smooth[rows, peak[:, 1, None, None] + span[:, None], peak[:, 0, None, None] + span]
        top = patch[:, 2, 2, None, None]
        p = np.log(np.maximum(patch.astype(np.float64) / top, 1e-6))
        grad = np.stack([p[:, 2, 3] - p[:, 2, 1], p[:, 3, 2] - p[:, 1, 2]], axis=-1) / 2
        xx = (p[:, 2, 4] - 2 * p[:, 2, 2] + p[:, 2, 0]) / 4
        yy = (p[:, 4, 2] - 2 * p[:, 2, 2] + p[:, 0, 2]) / 4
        xy = (p[:, 3, 3] - p[:, 3, 1] - p[:, 1, 3] + p[:, 1, 1]) / 4
        # Smoothing with the encoding's own width doubles the variance of the fallback's Gaussian.
        return peak + _newton_step(grad, xx, xy, yy, 2 * self.sigma**2, limit=1.0)

    def _fit(self, maps: np.ndarray, peak: np.ndarray) -> np.ndarray:
        """Weighted parabola through log h on raw maps ``(M, h, w)``, twice: then around the result."""
        w, h = self.heatmap_wh
        radius = max(2, int(np.ceil(1.5 * self.sigma)))
        last = np.array([w - 1, h - 1])
        centre, found = peak, peak.astype(np.float64)
        for _ in range(2):
            step = self._fit_once(maps, centre, radius)
            # What lies further out than the encoder labels (or than the decoder can see) is extrapolation.
            found = np.clip(centre + step, -0.5 - self.sigma, last + 0.5 + self.sigma)
            centre = np.clip(np.rint(found), 0, last).astype(np.intp)
        return found

    def _fit_once(self, maps: np.ndarray, centre: np.ndarray, radius: int) -> np.ndarray:
        w, h = self.heatmap_wh
        span = np.arange(-radius, radius + 1)
        dy, dx = (d.ravel() for d in np.meshgrid(span, span, indexing="ij"))
        x, y = centre[:, :1] + dx, centre[:, 1:] + dy
        exists = (x >= 0) & (x < w) & (y >= 0) & (y < h)
        values = maps[np.arange(len(maps))[:, None], np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)].astype(
            np.float64
        )
        values = np.where(exists, values, 0.0)
        values /= np.maximum(values.max(axis=1, keepdims=True), 1e-12)
        good = values > _FLOOR
        log, weight = np.log(np.where(good, values, 1.0)), np.where(good, values, 0.0) ** 2
        basis = np.stack([np.ones_like(dx), dx, dy, dx * dx / 2, dx * dy, dy * dy / 2]).astype(np.float64)
        normal = np.einsum("pi,mi,qi->mpq", basis, weight, basis, optimize=True)
        normal += 1e-9 * np.eye(6)  # too few pixels above the floor: a flat answer, handled as one below
        c = np.linalg.solve(normal, np.einsum("pi,mi->mp", basis, weight * log)[..., None])[..., 0]
        return _newton_step(c[:, 1:3], c[:, 3], c[:, 4], c[:, 5], self.sigma**2, limit=float(radius))


_NEIGHBOURS = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])


def _newton_step(
    grad: np.ndarray, xx: np.ndarray, xy: np.ndarray, yy: np.ndarray, variance: float, limit: float
) -> np.ndarray:
    """``-H^-1 g`` per row, ``(M, 2)``, at most ``limit`` px along an axis.

    Where H is not clearly negative definite the Gaussian of the given variance stands in for it and the step
    is at most one pixel.
    """
    det = xx * yy - xy * xy
    # Curvature a hundred times weaker than the encoded peak's is a ridge: a step along it would be noise.
    least = 1e-2 / variance
    sound = (xx < -least) & (yy < -least) & (det > least**2)
    safe = np.where(sound, det, 1.0)
    newton = np.stack([xy * grad[:, 1] - yy * grad[:, 0], xy * grad[:, 0] - xx * grad[:, 1]], axis=-1)
    newton = np.clip(newton / safe[:, None], -limit, limit)
    return np.where(sound[:, None], newton, np.clip(variance * grad, -1.0, 1.0))


def flip_back(heatmaps_of_mirrored: np.ndarray, flip_map: np.ndarray) -> np.ndarray:
    """Heatmaps predicted on the mirrored crop, brought back to the crop itself.

    Mirrored along x exactly and relabelled, with no shift: coordinates are pixel centres and the crop is
    mirrored by ``x -> w - 1 - x``, so the maps are as well (the unbiased data processing of Huang et al.,
    CVPR 2020).

    Args:
        heatmaps_of_mirrored: ``(N, K, h, w)``.
        flip_map: ``(K,)`` int, :attr:`heightpose.skeleton.Skeleton.flip_map`.
    """
    heatmaps_of_mirrored = np.asarray(heatmaps_of_mirrored)
    require_shape("heatmaps_of_mirrored", heatmaps_of_mirrored, (None, len(flip_map), None, None))
    return np.ascontiguousarray(heatmaps_of_mirrored[:, flip_map, :, ::-1])


def merge_flip(heatmaps: np.ndarray, heatmaps_of_mirrored: np.ndarray, flip_map: np.ndarray) -> np.ndarray:
    """Flip test-time augmentation: mean of a crop's heatmaps and its mirror image's, ``(N, K, h, w)``."""
    return (np.asarray(heatmaps) + flip_back(heatmaps_of_mirrored, flip_map)) * 0.5
