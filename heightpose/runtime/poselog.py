"""What was seen, kept small: an hour of video must not grow the process noticeably."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import numpy as np

from heightpose.runtime.clip import Frame
from heightpose.types import Detection, FrameResult, Pose

T = TypeVar("T")
_BLOCK = 1024
#: Marks what a pose does not have: neither a standard deviation nor a probability is negative.
_ABSENT = -1.0
#: Standard deviations are kept within what half precision holds, and correlations off 1 by more than it rounds.
_SD_RANGE_PX = (1e-3, 6e4)
_MOST_CORRELATED = 0.999


class Thinned(Generic[T]):
    """A sample spread evenly over a sequence of unknown length.

    Keeps every ``step``-th item; when more than ``capacity`` are held, every other one is dropped and the
    step doubles. So the first items are all kept at first, and a long sequence ends with capacity/2 to
    capacity items.
    """

    def __init__(self, capacity: int, step: int = 1) -> None:
        self.items: list[T] = []
        self.step = step
        self._capacity, self._count = capacity, 0

    @property
    def wants_next(self) -> bool:
        """Whether the next item would be kept: lets the caller skip making it."""
        return self._count % self.step == 0

    def add(self, item: T | None) -> None:
        """Count the next item; None counts but is not kept."""
        keep, self._count = self.wants_next and item is not None, self._count + 1
        if not keep:
            return
        self.items.append(item)  # type: ignore[arg-type]
        if len(self.items) > self._capacity:
            self.items = self.items[::2]
            self.step *= 2


class PoseLog:
    """Frame results in compact arrays (about 0.5 KB a frame), given back as :class:`FrameResult`.

    Every decoded frame has a row; rows that were decoded but not looked at stay without a pose. Covariances and
    probabilities are kept in half precision, to about a thousandth.
    """

    def __init__(self, joints: int) -> None:
        self._record = np.dtype(
            [
                ("t_s", np.float64),
                ("infants", np.int32),
                ("looked", np.bool_),
                ("found", np.bool_),
                ("score", np.float32),
                ("angle", np.float32),
                ("bbox", np.float32, (4,)),
                ("kpts", np.float32, (joints, 3)),
                ("spread", np.float16, (joints, 3)),
                ("chances", np.float16, (joints, 2)),
            ]
        )
        self._blocks: list[np.ndarray] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def note(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Pass decoded frames through, giving each its row. Indices must count 0, 1, 2, ..."""
        for frame in frames:
            if self._length % _BLOCK == 0:
                self._blocks.append(np.zeros(_BLOCK, self._record))
            self._length += 1
            self._row(frame.index)["t_s"] = frame.t_s
            yield frame

    def add(self, result: FrameResult) -> None:
        """Fill the row of a frame that was looked at."""
        row, pose = self._row(result.index), result.pose
        row["looked"], row["found"], row["infants"] = True, pose is not None, result.infants
        if pose is not None:
            row["score"], row["angle"] = pose.detection.score, pose.detection.head_angle_deg
            row["bbox"] = pose.detection.bbox_xyxy
            row["kpts"][:, :2], row["kpts"][:, 2] = pose.kpts_frame, pose.scores
            row["spread"] = _ABSENT if pose.cov_frame is None else _pack(pose.cov_frame)
            for column, chance in enumerate((pose.probabilities, pose.seen)):
                row["chances"][:, column] = _ABSENT if chance is None else chance

    def cut(self, length: int) -> None:
        """Forget the frames from index ``length`` on: decoded ahead of a look that did not come."""
        self._length = min(self._length, length)

    @property
    def last_t_s(self) -> float:
        """Time of the last frame; minus infinity without one."""
        return float(self._row(self._length - 1)["t_s"]) if self._length else -np.inf

    @property
    def calibrated(self) -> bool:
        """Whether any skeleton has probabilities."""
        return any((block["found"] & (block["chances"][:, 0, 0] != _ABSENT)).any() for block in self._blocks)

    def looked(self, index: int) -> bool:
        """Whether the networks saw this frame."""
        return bool(self._row(index)["looked"])

    def __getitem__(self, index: int) -> FrameResult:
        r = self._row(index)
        pose = None
        if r["found"]:
            detection = Detection(r["bbox"].astype(float), float(r["angle"]), min(float(r["score"]), 1.0))
            cov = None if r["spread"][0, 0] == _ABSENT else _unpack(r["spread"])
            chances = (None if c[0] == _ABSENT else c for c in r["chances"].T)
            pose = Pose(r["kpts"][:, :2], np.clip(r["kpts"][:, 2], 0.0, 1.0), detection, cov, *chances)
        return FrameResult(index, float(r["t_s"]), pose, int(r["infants"]))

    def looked_at(self, before: int | None = None) -> list[int]:
        """Indices of the frames that the networks saw, in order; only those smaller than ``before``."""
        end = self._length if before is None else min(before, self._length)
        looked = [np.flatnonzero(block["looked"]) + n * _BLOCK for n, block in enumerate(self._blocks)]
        return [int(i) for i in np.concatenate([*looked, np.zeros(0, int)]) if i < end]

    def _row(self, index: int) -> np.ndarray:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self._blocks[index // _BLOCK][index % _BLOCK]


def _pack(cov: np.ndarray) -> np.ndarray:
    """Covariances ``(K, 3)`` xx, xy, yy as standard deviations of x and y and their correlation."""
    sd = np.sqrt(cov[:, [0, 2]])
    correlation = np.clip(cov[:, 1] / sd.prod(axis=1), -_MOST_CORRELATED, _MOST_CORRELATED)
    return np.column_stack([np.clip(sd, *_SD_RANGE_PX), correlation])


def _unpack(spread: np.ndarray) -> np.ndarray:
    x, y, correlation = spread.astype(np.float64).T
    return np.column_stack([x * x, correlation * x * y, y * y])
