"""An exported file against its source: the same pictures through both, compared in the units that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from heightpose.codec import detection
from heightpose.codec.heatmap import DARK, HeatmapCodec
from heightpose.errors import FileFormatError
from heightpose.runtime.modelfile import ModelFile

Run = Callable[[np.ndarray], np.ndarray]

#: Coordinates are compared where the source sees something: below this peak the place of the peak is chance.
MIN_SCORE = 0.3
LIMIT_PX = 0.3
LIMIT_SCORE = 0.03
#: Pictures that a form is given at once.
_PIECE = 8


@dataclass(frozen=True)
class Agreement:
    """How far an exported file is from its source.

    Attributes:
        distance_px: ``(M,)`` between coordinates (joints, or box corners), in px of a 256 px crop.
        score: ``(N,)`` absolute difference of scores.
        left_out: coordinates not compared, as the source sees nothing there.
        share: of the coordinates and scores, how many must be within the limits.
    """

    distance_px: np.ndarray
    score: np.ndarray
    left_out: int
    share: float = 1.0

    @property
    def nothing_compared(self) -> bool:
        """Whether the source sees nothing in any of the pictures."""
        return len(self.distance_px) == 0

    @property
    def passed(self) -> bool:
        """Within the limits, and something was compared at all."""
        return (
            not self.nothing_compared
            and self._at_share(self.distance_px) <= LIMIT_PX
            and self._at_share(self.score) <= LIMIT_SCORE
        )

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(what, coordinates in px at 256, scores), each as text."""
        for name, at in (("median", 0.5), ("95 %", 0.95), ("99 %", 0.99), ("largest", 1.0)):
            distance, score = (_quantile(v, at) if len(v) else np.nan for v in (self.distance_px, self.score))
            yield name, f"{distance:.3f}", f"{score:.4f}"
        limit = "largest" if self.share == 1.0 else f"{100 * self.share:g} %"
        yield f"limit ({limit})", f"{LIMIT_PX:.3f}", f"{LIMIT_SCORE:.4f}"

    def _at_share(self, values: np.ndarray) -> float:
        return _quantile(values, self.share) if len(values) else 0.0


def _quantile(values: np.ndarray, share: float) -> float:
    """The largest value of that share of them: of a few values too, 99 % leave one out."""
    return float(np.quantile(values, share, method="lower"))


def agreement(
    source: Run, exported: Run, batch: np.ndarray, file: ModelFile, share: float = 1.0
) -> Agreement:
    """Run both on the same pictures.

    Args:
        source, exported: ``(N, 3, H, W)`` float32 RGB 0..255 -> the network's output.
        batch: pictures of any one size that both take.
        file: what the network is.
        share: see :class:`Agreement`.
    """
    size_wh = (batch.shape[3], batch.shape[2])
    outputs = [_in_pieces(run, batch) for run in (source, exported)]
    if outputs[0].shape != outputs[1].shape:
        return Agreement(np.array([np.inf]), np.array([np.inf]), 0, share)
    (kpts, scores), (other_kpts, other_scores) = (decoded(output, size_wh, file) for output in outputs)
    sure = scores >= MIN_SCORE
    distance = np.linalg.norm(kpts - other_kpts, axis=-1) * 256.0 / max(size_wh)
    return Agreement(distance[sure], np.abs(scores - other_scores).ravel(), int((~sure).sum()), share)


def _in_pieces(run: Run, batch: np.ndarray) -> np.ndarray:
    return np.concatenate([run(batch[i : i + _PIECE]) for i in range(0, len(batch), _PIECE)])


def decoded(output: np.ndarray, size_wh: tuple[int, int], file: ModelFile) -> tuple[np.ndarray, np.ndarray]:
    """``(N, K, 2)`` px of the input and ``(N, K)`` scores.

    Raises:
        FileFormatError: a detector's output that is no map, or a larger one than its codec reads.
    """
    if file.kind == "detector":
        return _best_boxes(_whole_maps(output, file))
    if output.ndim == 3:  # a network that gives coordinates gives no scores
        return output[..., :2], np.ones(output.shape[:2])
    heatmap_wh = (output.shape[3], output.shape[2])
    codec = HeatmapCodec(size_wh, heatmap_wh, file.sigma, file.meta.get("decoder", DARK))
    return codec.decode(output)


def _whole_maps(output: np.ndarray, file: ModelFile) -> np.ndarray:
    """A smaller picture's maps in the corner of maps of the codec's size: further right and down there is nobody."""
    whole = (detection.CHANNELS, *detection.MAP_WH[::-1])
    missing = [side - given for side, given in zip(whole, output.shape[1:], strict=False)]
    if output.ndim != 4 or missing[0] != 0 or min(missing) < 0:
        raise FileFormatError(
            "the detector's output is not a map of ours",
            where=file.path,
            expected=f"at most {whole}",
            got=output.shape[1:],
        )
    return np.pad(output, [(0, 0), *((0, n) for n in missing)])


def _best_boxes(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both corners of the surest infant's box, whether or not it would be reported."""
    corners, scores = [], []
    for one in maps:
        found: Any = detection.decode(one, 0.0)
        box, _, score = found[0] if found else (np.zeros(4), 0.0, 0.0)
        corners.append(np.asarray(box, dtype=np.float64).reshape(2, 2))
        scores.append([score, score])
    return np.stack(corners), np.array(scores)
