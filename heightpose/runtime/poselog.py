"""What was seen, kept small: an hour of video must not grow the process noticeably."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Generic, TypeVar

import numpy as np

from heightpose.runtime.atomic import cannot_write
from heightpose.runtime.clip import Frame
from heightpose.types import Detection, FrameResult, Pose

T = TypeVar("T")
_BLOCK = 1024
#: Blocks of rows kept in memory, half a megabyte each.
_BLOCKS_IN_MEMORY = 2
#: A longer clip is measured from an even sample of that many frames, so that memory stays flat: twenty seconds of
#: frames that hardly differ from their neighbours, or as many spread over an hour.
MEASURE_FRAMES = 500
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
    """Frame results, about 0.5 KB each, given back as :class:`FrameResult`; all but the latest lie in a temporary file.

    Every decoded frame has a row; rows that were decoded but not looked at stay without a pose. Covariances and
    probabilities are kept in half precision, to about a thousandth.

    Attributes:
        shown_xyxy: outer edges of the part of the frames that shows anything (:mod:`heightpose.runtime.bars`), px; None
            for all of it.
    """

    shown_xyxy: tuple[float, float, float, float] | None = None

    def __init__(self, joints: int) -> None:
        self._record = np.dtype(
            [
                ("t_s", np.float64),
                ("infants", np.int32),
                ("found", np.bool_),
                ("score", np.float32),
                ("angle", np.float32),
                ("bbox", np.float32, (4,)),
                ("kpts", np.float32, (joints, 3)),
                ("spread", np.float16, (joints, 3)),
                ("chances", np.float16, (joints, 3)),
            ]
        )
        self._recent: dict[int, np.ndarray] = {}
        self._older: IO[bytes] | None = None
        self._read: tuple[int, np.ndarray] | None = None
        self._looked = bytearray()
        self._calibrated = False
        self._length = 0
        self._lock = threading.Lock()  # frames are noted by the thread that decodes, and added by another

    def __len__(self) -> int:
        return self._length

    def note(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Pass decoded frames through, giving each its row. Indices must count 0, 1, 2, ..."""
        for frame in frames:
            with self._lock:
                if self._length % _BLOCK == 0:
                    self._begin(self._length // _BLOCK)
                self._recent[self._length // _BLOCK][self._length % _BLOCK]["t_s"] = frame.t_s
                self._looked.append(0)
                self._length += 1
            yield frame

    def add(self, result: FrameResult) -> None:
        """Fill the row of a frame that was looked at."""
        record, pose = np.zeros((), self._record), result.pose
        record["t_s"], record["infants"], record["found"] = result.t_s, result.infants, pose is not None
        if pose is not None:
            record["score"], record["angle"] = pose.detection.score, pose.detection.head_angle_deg
            record["bbox"] = pose.bbox_xyxy
            record["kpts"][:, :2], record["kpts"][:, 2] = pose.kpts_frame, pose.scores
            record["spread"] = _ABSENT if pose.cov_frame is None else _pack(pose.cov_frame)
            for column, chance in enumerate((pose.probabilities, pose.seen, pose.covered)):
                record["chances"][:, column] = _ABSENT if chance is None else chance
            self._calibrated = self._calibrated or pose.probabilities is not None
        number, place = divmod(self._checked(result.index), _BLOCK)
        with self._lock:
            self._looked[result.index] = 1
            if number in self._recent:
                self._recent[number][place] = record
            else:  # few frames of many are looked at: decoding is far ahead
                assert self._older is not None
                self._older.seek(result.index * self._record.itemsize)
                self._older.write(record.tobytes())
                self._read = None

    def _begin(self, number: int) -> None:
        """Make room for a block; the oldest in memory goes to disk."""
        self._recent[number] = np.zeros(_BLOCK, self._record)
        if len(self._recent) <= _BLOCKS_IN_MEMORY:
            return
        oldest = min(self._recent)
        try:
            if self._older is None:
                self._older = tempfile.TemporaryFile()  # noqa: SIM115 - as long-lived as this
            self._older.seek(oldest * self._record.itemsize * _BLOCK)
            self._older.write(self._recent[oldest].tobytes())
        except OSError as error:
            raise cannot_write(Path(tempfile.gettempdir()), error) from error
        del self._recent[oldest]

    def cut(self, length: int) -> None:
        """Forget the frames from index ``length`` on: decoded ahead of a look that did not come."""
        self._length = min(self._length, length)

    @property
    def last_t_s(self) -> float:
        """Time of the last frame; minus infinity without one."""
        return float(self._row(self._length - 1)["t_s"]) if self._length else -float("inf")

    @property
    def calibrated(self) -> bool:
        """Whether any skeleton has probabilities."""
        return self._calibrated

    def looked(self, index: int) -> bool:
        """Whether the networks saw this frame."""
        return bool(self._looked[self._checked(index)])

    def __getitem__(self, index: int) -> FrameResult:
        r = self._row(index)
        pose = None
        if r["found"]:
            detection = Detection(r["bbox"].astype(float), float(r["angle"]), min(float(r["score"]), 1.0))
            cov = None if r["spread"][0, 0] == _ABSENT else _unpack(r["spread"])
            right, seen, covered = (None if c[0] == _ABSENT else c for c in r["chances"].T)
            peaks = np.clip(r["kpts"][:, 2], 0.0, 1.0)
            pose = Pose(r["kpts"][:, :2], peaks, detection, cov, right, seen, covered)
        return FrameResult(index, float(r["t_s"]), pose, int(r["infants"]))

    def looked_at(self, before: int | None = None) -> np.ndarray:
        """Indices of the frames that the networks saw, in order; only those smaller than ``before``."""
        end = self._length if before is None else min(before, self._length)
        return np.flatnonzero(np.frombuffer(bytes(self._looked[:end]), np.uint8))

    def sample(self, before: int | None = None) -> list[FrameResult]:
        """The frames that are measured from: of those looked at, at most :data:`MEASURE_FRAMES`, spread evenly.

        Args:
            before: only frames with a smaller index.
        """
        looked_at = self.looked_at(before)
        even = np.linspace(0, len(looked_at) - 1, min(len(looked_at), MEASURE_FRAMES)).round().astype(int)
        return [self[int(i)] for i in looked_at[even]]

    def _checked(self, index: int) -> int:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return int(index)

    def _row(self, index: int) -> np.void:
        number, place = divmod(self._checked(index), _BLOCK)
        with self._lock:
            if number in self._recent:
                return self._recent[number][place]
            if self._read is None or self._read[0] != number:
                assert self._older is not None
                self._older.seek(number * self._record.itemsize * _BLOCK)
                data = self._older.read(self._record.itemsize * _BLOCK)
                self._read = number, np.frombuffer(data, self._record)
            return self._read[1][place]


def _pack(cov: np.ndarray) -> np.ndarray:
    """Covariances ``(K, 3)`` xx, xy, yy as standard deviations of x and y and their correlation."""
    sd = np.sqrt(cov[:, [0, 2]])
    correlation = np.clip(cov[:, 1] / sd.prod(axis=1), -_MOST_CORRELATED, _MOST_CORRELATED)
    return np.column_stack([np.clip(sd, *_SD_RANGE_PX), correlation])


def _unpack(spread: np.ndarray) -> np.ndarray:
    x, y, correlation = spread.astype(np.float64).T
    return np.column_stack([x * x, correlation * x * y, y * y])
