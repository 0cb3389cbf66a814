"""``heightpose calibrate``: the camera's lens and pose. One module per verb in heightpose.cli.calibrate_verbs."""

from __future__ import annotations

import click

from heightpose.cli.lazy import LazyGroup

VERBS = {
    "board": "Draw a board to print.",
    "camera": "Find a camera's lens from pictures of a printed board.",
    "plane": "Find and store the mattress plane of a fixed camera.",
    "check": "Does a camera file still fit its pictures?",
}


@click.group("calibrate", cls=LazyGroup, package="heightpose.cli.calibrate_verbs", verbs=VERBS)
def calibrate() -> None:
    """Find a camera's lens and the mattress plane, and check that they still fit.

    \b
    Examples:
      heightpose calibrate camera board-pictures/ --board charuco --out camera.json
      heightpose calibrate check clip.mp4 --camera camera.json --sheet sheet.yaml
    """
