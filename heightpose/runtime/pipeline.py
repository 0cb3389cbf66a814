"""From frames to joints: detect, crop, pose, decode, back to frame pixels.

One streaming generator serves every front end: ``infer`` and ``eval`` both consume
:func:`estimate_poses`, so a headline number always describes the shipped path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from heightpose.runtime.clip import Frame
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.presence import CANDIDATE, is_there
from heightpose.runtime.refine import boxed, own_look, second_look
from heightpose.runtime.stages import NETWORKS_S, ahead
from heightpose.runtime.times import StageTimes
from heightpose.runtime.track import Guide, KeyFrames, guides_of
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Pose

#: Frames handed to the networks together, fewer when they are large: memory is bounded, not the batch.
BATCH = 8
_BATCH_PIXELS = 24e6
#: Candidates of a frame that the pose net is asked about, one after the other.
_TRIES = 2


def estimate_poses(
    frames: Iterable[Frame],
    detector: Detector,
    pose_model: PoseModel,
    *,
    refine: bool = True,
    batch: int = BATCH,
    times: StageTimes | None = None,
    track: bool = False,
) -> Iterator[tuple[FrameResult, np.ndarray]]:
    """The infant's joints in every frame, as the frames come.

    Where several infants are seen the one with the best score is posed and ``infants`` holds their number. What the
    detector takes for an infant is one when the pose net sees its joints (:mod:`heightpose.runtime.presence`).

    Args:
        frames: (index, t_s, rgb) in order; consumed a few at a time.
        refine: look again with the crop that the first skeleton asks for (:mod:`heightpose.runtime.refine`).
        batch: frames per call of the networks.
        times: where to count the stages' time.
        track: the frames are one clip of one camera: let the last skeleton say where to look
            (:mod:`heightpose.runtime.track`). ``infants`` is then that of the last frame the detector saw.

    Yields:
        (result, rgb) for every frame given, in order; ``result.pose`` is None where no infant was found.
    """
    times = StageTimes() if times is None else times
    looker = _Looker(detector, pose_model, refine, times)
    groups = _groups(frames, batch)
    if track and refine and pose_model.skeleton.names == INFANT.names:
        looks = _tracked(looker, groups)
    else:
        looks = ((group, looker.anew(group, range(len(group)))) for group in groups)
    for group, seen in looks:
        times.frames += len(group)
        poses = _judged(pose_model, group, seen, times)
        for i, frame in enumerate(group):
            yield FrameResult(frame.index, frame.t_s, poses.get(i), seen[i][1]), frame.rgb


#: An infant's skeleton, None where none is there, and how many infants the detector saw.
Seen = tuple[Pose | None, int]
#: Frames, and what was seen in them by their place among them.
Looked = tuple[list[Frame], dict[int, Seen]]


def _judged(
    pose_model: PoseModel, group: Sequence[Frame], seen: Mapping[int, Seen], times: StageTimes
) -> dict[int, Pose]:
    """The skeletons by place, told where crown or heels are covered."""
    poses = {i: pose for i, (pose, _) in seen.items() if pose is not None}
    if pose_model.cover is None or not poses:
        return poses
    with times.stage("cover"):
        judged = pose_model.cover.judged([group[i].rgb for i in poses], list(poses.values()))
    return dict(zip(poses, judged, strict=True))


def _tracked(looker: _Looker, groups: Iterable[list[Frame]]) -> Iterator[Looked]:
    """Each group's key frames anew, the frames between them by the key frames' guides.

    A key frame needs no other frame, so key frames have a thread of their own, up to a group ahead: what one thread
    does in Python, on one core, the other's networks run beside.
    """
    guide = None
    with closing(ahead(_keyed(looker, groups), 1, name="key frames", patience_s=NETWORKS_S)) as keyed:
        for group, seen in keyed:
            are_keys = [i in seen for i in range(len(group))]
            guides = guides_of(are_keys, [Guide.after(*seen[i]) for i in sorted(seen)], guide)
            seen |= looker.followed(group, {i: g for i, g in enumerate(guides) if not are_keys[i]})
            guide = guides[-1]
            yield group, seen


def _keyed(looker: _Looker, groups: Iterable[list[Frame]]) -> Iterator[Looked]:
    """Each group with what was seen in its key frames alone."""
    keys = KeyFrames()
    for group in groups:
        yield group, looker.anew(group, [i for i, frame in enumerate(group) if keys.is_key(frame)])


@dataclass(frozen=True)
class _Looker:
    """Looks at some frames of a group; results by their place in it."""

    detector: Detector
    pose_model: PoseModel
    refine: bool
    times: StageTimes

    def anew(self, group: Sequence[Frame], which: Sequence[int]) -> dict[int, Seen]:
        """By detector and pose net."""
        if not which:
            return {}
        rgbs = [frame.rgb for frame in group]
        patient = replace(self.detector, threshold=min(CANDIDATE, self.detector.threshold))
        with self.times.stage("detect"):
            found = dict(zip(which, patient.detect([rgbs[i] for i in which]), strict=True))
        seen: dict[int, Seen] = {}
        for place in range(_TRIES):
            asked = [i for i in which if i not in seen and len(found[i]) > place]
            poses = self._posed([rgbs[i] for i in asked], [found[i][place] for i in asked])
            for i, pose in zip(asked, poses, strict=True):
                if is_there(pose):
                    sure = sum(one.score >= self.detector.threshold for one in found[i][place:])
                    seen[i] = pose, max(1, sure)
        return {i: seen.get(i, (None, 0)) for i in which}

    def _posed(self, rgbs: Sequence[np.ndarray], detections: Sequence[Detection]) -> list[Pose]:
        poses = self.pose_model.estimate(rgbs, detections, times=self.times)
        return second_look(self.pose_model, rgbs, poses, times=self.times) if self.refine and poses else poses

    def followed(self, group: Sequence[Frame], guides: Mapping[int, Guide | None]) -> dict[int, Seen]:
        """Where the last skeleton was; anew where that is not known or turns out wrong."""
        rgbs = [frame.rgb for frame in group]
        held = {i: guide for i, guide in guides.items() if guide is not None}
        pictures = [rgbs[i] for i in held]
        poses = self.pose_model.estimate(pictures, [g.detection for g in held.values()], times=self.times)
        posed = dict(zip(held, poses, strict=True))
        lost = [i for i in guides if i not in held or held[i].lost(posed[i])]
        moved = [i for i in held if i not in lost and not held[i].fits(posed[i])]
        if moved:
            again = own_look(
                self.pose_model, [rgbs[i] for i in moved], [posed[i] for i in moved], times=self.times
            )
            posed.update(zip(moved, again, strict=True))
        seen: dict[int, Seen] = {
            i: (boxed(posed[i], rgbs[i], posed[i].detection), guide.infants) for i, guide in held.items()
        }
        return seen | self.anew(group, lost)


def _groups(frames: Iterable[Frame], batch: int) -> Iterator[list[Frame]]:
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        if len(group) >= batch or len(group) * frame.rgb.shape[0] * frame.rgb.shape[1] >= _BATCH_PIXELS:
            yield group
            group = []
    if group:
        yield group
