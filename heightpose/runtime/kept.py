"""What an earlier run finished and ``heightpose infer --resume`` keeps.

A result is kept where it is whole, and provenance.json says that the same recording was measured in the same way: the
same code, weights, runtimes, settings and settings files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heightpose.errors import HeightposeError
from heightpose.runtime import results
from heightpose.runtime.clip import Clip
from heightpose.runtime.earlier import ANSWER
from heightpose.runtime.output import measurement_in
from heightpose.runtime.settings import Settings
from heightpose.textfile import read_json
from heightpose.types import Measurement


def kept(
    folder: Path, clip: Clip, made: Mapping[str, Any], settings: Settings
) -> tuple[dict[str, Any], Measurement] | None:
    """The height.json in a result folder that measuring the clip would write again, and its answer.

    Args:
        made: of :func:`heightpose.runtime.results.made_with`, as a measurement would be made now.

    Returns:
        None where the clip has to be measured.
    """
    files = [name for name in results.FILES if not (settings.no_overlay and name == results.OVERLAY)]
    if clip.live or not all((folder / name).is_file() for name in files):
        return None
    try:
        height = read_json(folder / ANSWER, "answer")
        provenance = read_json(folder / "provenance.json", "provenance")
        measurement = measurement_in(height)
        whole = not (height.get("interrupted") or provenance["interrupted"])
        before = provenance["input"]["sha256"]
        asked = (height.get("sex"), height.get("age_months")) == (settings.sex, settings.age_months)
    except (HeightposeError, AttributeError, KeyError, TypeError, ValueError):
        return None
    alike = all(_of_any_threads(provenance.get(key)) == _of_any_threads(made[key]) for key in made)
    same = whole and asked and alike and before == results.input_sha256(clip)
    return (height, measurement) if same else None


def _of_any_threads(value: Any) -> Any:
    """Without numbers of threads, which --jobs and the machine's load set and no answer depends on."""
    if not isinstance(value, dict):
        return value
    return {key: _of_any_threads(part) for key, part in value.items() if key != "threads"}
