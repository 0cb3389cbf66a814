"""An import's pictures copied into the set: all of them or none."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from heightpose.data.items import Item
from heightpose.data.placing import place_picture
from heightpose.errors import InputError
from heightpose.runtime.atomic import all_or_none, no_empty_folders


@contextmanager
def copied(
    items: Sequence[Item], folders: Mapping[int, Path], out: Path, overwrite: bool
) -> Iterator[list[Item]]:
    """The items with their pictures under ``out/images``, by the name they have below the source's folder.

    Where a copy, or what the caller does with them, fails or is interrupted, the pictures that are new there go again.

    Args:
        folders: item id -> that folder.
        overwrite: replace other pictures that have these names there already.

    Raises:
        HeightposeError: a picture cannot be read or written.
        InputError: another picture has its name there, without ``overwrite``.
    """
    places = _places(items, folders, out)
    sources = {
        place: item.path for item, place in zip(items, places, strict=True)
    }  # a video of many frames once
    with no_empty_folders({place.parent for place in places}), all_or_none() as new:
        for place, source in tqdm(sources.items(), desc="copying", unit="picture", disable=None):
            _copy(source, place, new, overwrite)
        yield [dataclasses.replace(i, path=place) for i, place in zip(items, places, strict=True)]


def _places(items: Sequence[Item], folders: Mapping[int, Path], out: Path) -> list[Path]:
    owner: dict[Path, Path] = {}
    places = []
    for item in items:
        relative = Path(os.path.relpath(item.path, folders[item.id]))
        if relative.parts[0] in ("images", "clips"):
            relative = Path(*relative.parts[1:])
        if ".." in relative.parts:
            relative = Path(item.path.name)
        place = out / "images" / relative
        if owner.setdefault(place, item.path) != item.path:
            place = place.with_name(f"{place.stem}-{item.id}{place.suffix}")
            owner[place] = item.path
        places.append(place)
    return places


def _copy(source: Path, place: Path, new: list[Path], overwrite: bool) -> None:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=source) from error
    if not (place.exists() and place.samefile(source)):
        place_picture(data, place, new, overwrite)
