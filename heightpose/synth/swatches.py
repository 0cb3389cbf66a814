"""Photographs of cloth, wood and carpet instead of procedural ones: ``heightpose synth --textures DIR``.

Any picture serves. One that shows several swatches side by side on white, as catalogues do, is cut into them. The
file's name says what it is good for: wood, planks and tatami for floors, fabrics for cloth, carpets and unknown names
for both.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from heightpose.errors import InputError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
_FLOORS = ("wood", "plank", "floor", "carpet", "tatami", "tile", "rug", "stone")
_CLOTHS = ("fabric", "cloth", "textile", "wallpaper", "linen", "cotton", "wool", "knit", "carpet", "rug")
_PAPER = 245  # lighter than this in all channels is the catalogue's page
_LEAST_PX = 48
_EDGE_PX = 4  # ragged rims of swatches
SIZE = 256


@dataclass(frozen=True, eq=False)
class Swatches:
    """Tiles of linear albedo, ``(256, 256, 3)`` float32 in 0..1, seamless.

    Attributes:
        cloths, floors: what to draw from; never both empty, and each stands in for the other when it is.
        files: file name -> SHA-256, for the recipe.
    """

    cloths: tuple[np.ndarray, ...]
    floors: tuple[np.ndarray, ...]
    files: dict[str, str]

    def cloth(self, rng: np.random.Generator) -> np.ndarray:
        """A random cloth, its brightness varied a little."""
        return _draw(self.cloths or self.floors, rng)

    def floor(self, rng: np.random.Generator) -> np.ndarray:
        """A random floor, its brightness varied a little."""
        return _draw(self.floors or self.cloths, rng)


def load_swatches(folder: Path) -> Swatches:
    """Read every picture of a folder.

    Raises:
        InputError: no such folder, no picture in it, or one that cannot be decoded.
    """
    if not folder.is_dir():
        raise InputError(
            "no such folder of textures",
            where=folder,
            expected="a folder of pictures",
            hint="Check --textures",
        )
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise InputError(
            "no pictures in the folder of textures", where=folder, expected=", ".join(sorted(_SUFFIXES))
        )
    cloths: list[np.ndarray] = []
    floors: list[np.ndarray] = []
    files = {}
    for path in paths:
        data = path.read_bytes()
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if picture is None:
            raise InputError("cannot be read as a picture", where=path, hint="Remove it from the folder")
        files[path.name] = hashlib.sha256(data).hexdigest()
        tiles = [_seamless(tile[..., ::-1]) for tile in cut(picture)]
        a_floor, a_cloth = (any(word in path.stem.lower() for word in names) for names in (_FLOORS, _CLOTHS))
        if a_floor or not a_cloth:
            floors += tiles
        if a_cloth or not a_floor:  # a name that says nothing serves for anything
            cloths += tiles
    return Swatches(tuple(cloths), tuple(floors), files)


def cut(picture: np.ndarray) -> list[np.ndarray]:
    """The swatches of a catalogue page, ``(h, w, 3)`` uint8 each; the whole picture where it is none."""
    inked = (picture.min(axis=2) < _PAPER).astype(np.uint8)
    inked = cv2.morphologyEx(inked, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(inked)
    tiles = []
    for x, y, width, height, area in stats[1:].tolist():
        if min(width, height) >= _LEAST_PX and area >= 0.85 * width * height:
            tiles.append(picture[y + _EDGE_PX : y + height - _EDGE_PX, x + _EDGE_PX : x + width - _EDGE_PX])
    return tiles if len(tiles) > 1 else [picture]


def _seamless(tile: np.ndarray) -> np.ndarray:
    """Square, mirrored in both directions so that its edges meet, sRGB turned into linear albedo."""
    side = min(tile.shape[:2])
    half = cv2.resize(tile[:side, :side], (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
    row = np.hstack([half, half[:, ::-1]])
    linear = (np.vstack([row, row[::-1]]).astype(np.float32) / 255.0) ** 2.2
    return np.clip(linear, 0.01, 0.95)


def _draw(tiles: tuple[np.ndarray, ...], rng: np.random.Generator) -> np.ndarray:
    tile = tiles[int(rng.integers(len(tiles)))]
    return np.clip(tile * rng.uniform(0.7, 1.3), 0.01, 0.95).astype(np.float32)
