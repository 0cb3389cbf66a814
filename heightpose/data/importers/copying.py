"""An import's pictures copied into the set: all of them or none."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from heightpose.data.items import Item
from heightpose.data.placing import below_images, place_picture, told_apart
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
    # A mapping: a video of many frames is copied once.
    sources = {place: item.path for item, place in zip(items, places, strict=True)}
    with no_empty_folders({place.parent for place in places}), all_or_none() as new:
        for place, source in tqdm(sources.items(), desc="copying", unit="picture", disable=None):
            _copy(source, place, new, overwrite)
        yield [dataclasses.replace(i, path=place) for i, place in zip(items, places, strict=True)]


def _places(items: Sequence[Item], folders: Mapping[int, Path], out: Path) -> list[Path]:
    wanted = (
        (i.path, below_images(Path(os.path.relpath(i.path, folders[i.id])), i.path.name), i.id) for i in items
    )
    return [out / "images" / path for path in told_apart(wanted)]


def _copy(source: Path, place: Path, new: list[Path], overwrite: bool) -> None:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=source) from error
    if not (place.exists() and place.samefile(source)):
        place_picture(data, place, new, overwrite)
