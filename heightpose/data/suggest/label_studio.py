"""Label Studio tasks with the model's joints as predictions, and the labelling interface they are for.

Label Studio counts in per cent of the picture from its corner: pixel ``x`` is ``100 (x + 0.5) / width``. It knows no
skeletons: a joint is a region with one label, the infant a rectangle that joints point to as their parent, and "hidden"
a choice on the joint's region. :mod:`heightpose.data.importers.label_studio` reads the same form back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from heightpose.data.items import Item
from heightpose.report.overlay import side_rgb
from heightpose.skeleton import INFANT

#: Names of the interface's controls, which regions refer to.
JOINT, INFANT_BOX, HIDDEN, PICTURE = "joint", "infant", "hidden", "image"
#: Where Label Studio's local storage serves the folder from; see docs/suggest.md.
_PREFIX = "/data/local-files/?d="


def task(item: Item, name: str, about: dict[str, Any]) -> dict[str, Any]:
    """One picture with its pre-annotation."""
    data = {
        "image": _PREFIX + name,
        "clip": about["clip"],
        "child": about["child"],
        "recording_sha256": about["recording_sha256"],
        "why": "; ".join(about["why"]),
    }
    regions = [region for n, _ in enumerate(item.people) for region in _regions(item, n)]
    made: dict[str, Any] = {"data": data}
    if regions:
        made["predictions"] = [
            {"model_version": "heightpose", "score": round(1.0 - about["doubt"], 4), "result": regions}
        ]
    return made


def _regions(item: Item, number: int) -> list[dict[str, Any]]:
    person, (width, height) = item.people[number], item.size_wh
    x0, y0, x1, y1 = (float(v) for v in _per_cent(person.bbox_xyxy.reshape(2, 2), item.size_wh).ravel())
    box = {
        "x": x0,
        "y": y0,
        "width": x1 - x0,
        "height": y1 - y0,
        "rotation": 0,
        "rectanglelabels": [INFANT_BOX],
    }
    own = f"infant-{number}"
    common = {"original_width": width, "original_height": height, "image_rotation": 0, "to_name": PICTURE}
    regions = [{**common, "id": own, "from_name": INFANT_BOX, "type": "rectanglelabels", "value": box}]
    for k in np.flatnonzero(person.visibility > 0):
        joint = INFANT.names[k]
        x, y = (float(v) for v in _per_cent(person.kpts_frame[k], item.size_wh))
        place = {"x": x, "y": y, "width": 0.6}
        known = {**common, "id": f"{own}-{joint}", "parentID": own}
        regions.append(
            {
                **known,
                "from_name": JOINT,
                "type": "keypointlabels",
                "value": place | {"keypointlabels": [joint]},
            }
        )
        if person.visibility[k] == 1:
            regions.append(
                {**known, "from_name": HIDDEN, "type": "choices", "value": place | {"choices": [HIDDEN]}}
            )
    return regions


def _per_cent(points: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    return 100.0 * (np.asarray(points) + 0.5) / np.array(size_wh)


def config_xml() -> str:
    """The labelling interface: paste it into the project's settings."""
    labels = "\n".join(
        f'    <Label value="{name}" background="#{r:02x}{g:02x}{b:02x}"/>'
        for name, (r, g, b) in ((n, side_rgb(n)) for n in INFANT.names)
    )
    return (
        "<View>\n"
        f'  <Image name="{PICTURE}" value="$image" zoom="true"/>\n'
        '  <Header value="$why"/>\n'
        f'  <RectangleLabels name="{INFANT_BOX}" toName="{PICTURE}">\n'
        f'    <Label value="{INFANT_BOX}"/>\n  </RectangleLabels>\n'
        f'  <KeyPointLabels name="{JOINT}" toName="{PICTURE}">\n{labels}\n  </KeyPointLabels>\n'
        f'  <Choices name="{HIDDEN}" toName="{PICTURE}" perRegion="true" whenTagName="{JOINT}" choice="multiple">\n'
        f'    <Choice value="{HIDDEN}"/>\n  </Choices>\n</View>\n'
    )
