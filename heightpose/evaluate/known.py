"""A clip of known length, measured as ``infer`` does."""

from __future__ import annotations

from typing import Any

from heightpose.data.clips import Clip
from heightpose.runtime.batch import Settings
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.session import Outcome, measure_clip
from heightpose.runtime.video import open_clip


def measure_known(
    clip: Clip, detector: Detector, pose_model: PoseModel, *, true_plane: bool = False, **options: Any
) -> Outcome:
    """Measure the clip with its own camera and scale.

    Args:
        true_plane: over the true mattress plane instead, where the set knows it.
        options: of :func:`~heightpose.runtime.session.measure_clip`.

    Raises:
        InputError, FileFormatError: the clip or one of its files cannot be used.
    """
    if true_plane and clip.truth is not None:
        settings = Settings(camera=clip.camera, plane=clip.truth)
    else:
        settings = Settings(camera=clip.camera, sheet=clip.sheet, plane=clip.plane)
    scale = settings.load_scale()
    with open_clip(str(clip.video)) as source:
        return measure_clip(source, detector, pose_model, scale, **options)
