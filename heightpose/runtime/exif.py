"""What a picture file says beside its picture: which way the camera was held, and whether there are more.

The orientation is read here and not left to the image library because the camera model needs to know how far the
picture was turned, and the library applies the tag without saying so.
"""

from __future__ import annotations

import struct

#: Exif orientation -> (clockwise degrees to turn the stored picture, mirrored). Exif 2.32, tag 0x0112.
_TURN = {
    1: (0, False),
    2: (0, True),
    3: (180, False),
    4: (180, True),
    5: (90, True),
    6: (90, False),
    7: (270, True),
    8: (270, False),
}
_TIFF, _PNG = (b"II*\0", b"MM\0*"), b"\x89PNG\r\n\x1a\n"


def as_stored(data: bytes) -> bytes:
    """The file without its orientation where the picture library would turn its pixels unasked: a TIFF's.

    OpenCV does so whatever ``IMREAD_IGNORE_ORIENTATION`` says; turned here once more, the picture would lie wrong.
    """
    if data[:4] not in _TIFF:
        return data
    try:
        at = _tag_at(data)
    except (struct.error, IndexError):
        return data
    return data if at is None else data[:at] + struct.pack(_order(data) + "H", 1) + data[at + 2 :]


def holds_several(data: bytes) -> bool:
    """Whether a file holds more than one picture: an animated PNG or WebP, a TIFF of several pages."""
    try:
        if data[:8] == _PNG:
            return _chunk(data, 8, b"acTL", ">", length_first=True) is not None
        if data[:4] == b"RIFF" and data[12:16] == b"VP8X":
            return bool(data[20] & 2)
        if data[:4] in _TIFF:
            order = _order(data)
            (first_ifd,) = struct.unpack_from(order + "I", data, 4)
            (count,) = struct.unpack_from(order + "H", data, first_ifd)
            return bool(struct.unpack_from(order + "I", data, first_ifd + 2 + 12 * count)[0])
    except (struct.error, IndexError):
        pass
    return False


def orientation(data: bytes) -> tuple[int, bool]:
    """(clockwise degrees 0, 90, 180 or 270, mirrored) of a JPEG, PNG, WebP or TIFF; (0, False) if absent."""
    try:
        tiff = _tiff_block(data)
        return _TURN.get(_tag(tiff) if tiff is not None else 1, (0, False))
    except (struct.error, IndexError):  # a damaged tag is no reason to refuse a picture that decodes
        return 0, False


def _tiff_block(data: bytes) -> bytes | None:
    if data[:2] == b"\xff\xd8":
        return _jpeg_exif(data)
    if data[:8] == _PNG:
        return _chunk(data, 8, b"eXIf", ">", length_first=True)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        block = _chunk(data, 12, b"EXIF", "<", length_first=False)
        return block.removeprefix(b"Exif\0\0") if block is not None else None
    if data[:4] in _TIFF:
        return data
    return None


def _jpeg_exif(data: bytes) -> bytes | None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # a byte that only fills
            at += 1
            continue
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker == 0xDA:  # picture data starts: no header segment follows
            return None
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 10 : at + 2 + length]
        at += 2 + length
    return None


def _chunk(data: bytes, at: int, name: bytes, order: str, *, length_first: bool) -> bytes | None:
    """One chunk of a PNG (length, name, data, crc) or RIFF (name, length, data, padded to even) file."""
    while at + 8 <= len(data):
        first, second = data[at : at + 4], data[at + 4 : at + 8]
        (length,) = struct.unpack(order + "I", first if length_first else second)
        if (second if length_first else first) == name:
            return data[at + 8 : at + 8 + length]
        at += 12 + length if length_first else 8 + length + length % 2
    return None


def _tag(tiff: bytes) -> int:
    at = _tag_at(tiff)
    return 1 if at is None else int(struct.unpack_from(_order(tiff) + "H", tiff, at)[0])


def _tag_at(tiff: bytes) -> int | None:
    """Where the orientation's two bytes are; None for none."""
    order = _order(tiff)
    (first_ifd,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, first_ifd)
    for i in range(count):
        entry = first_ifd + 2 + 12 * i
        tag, kind, _, _ = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == 0x0112 and kind == 3:
            return int(entry + 8)
    return None


def _order(tiff: bytes) -> str:
    return "<" if tiff[:2] == b"II" else ">"
