"""The command line with a plain estimator in place of the learned one; run by the tests as a process.

The 'length' is 60 cm plus the joints' mean x on the mattress, so a wrong turn, scale or way back shows.
"""

from __future__ import annotations

import numpy as np

from heightpose.cli.main import main
from heightpose.geometry import body
from heightpose.types import Measurement


def measure(frames, camera, plane, **_):
    """Stands in for :func:`heightpose.geometry.body.measure`."""
    used = [f for f in frames if f.pose is not None]
    xyz = np.mean([plane.to_mattress(camera, f.pose.kpts_frame, 0.0)[0] for f in used], axis=0)
    length = 60.0 + float(xyz[0])
    details = {"used_frames": [f.index for f in used], "xyz_cm": xyz}
    return Measurement(length, (length - 0.8, length + 0.8), len(frames), len(used), details=details)


if __name__ == "__main__":
    body.measure = measure
    main()
