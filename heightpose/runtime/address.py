"""What an input was called on the command line: a stream address or a path, and what to call it in messages."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from heightpose.errors import InputError

_FILE = re.compile("file://(localhost(?=/))?", re.IGNORECASE)


def is_address(source: str) -> bool:
    """True for ``rtsp://...`` and the like; ``file://`` and plain paths are files."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None and not _FILE.match(source)


def local_path(source: str | Path) -> str:
    """The path of a source that is no address; that of a ``file://`` address may be percent-encoded."""
    found = _FILE.match(str(source))
    return str(source) if found is None else unquote(str(source)[found.end() :], errors="surrogateescape")


#: Fields of a query that tell a recorder's cameras apart, and are no secrets.
_TELLING = ("cam", "camera", "channel", "id", "profile", "stream", "subtype", "track")
#: A login that some cameras take in the path.
_LOGIN = re.compile(r"((?:user|pass|pwd|token|auth|key)\w*?=)[^_&;/]*", re.IGNORECASE)


def without_login(address: str) -> str:
    """The address without user name and password: fit for messages and result files.

    Of a query only what tells cameras apart is left.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:  # a host or port that cannot be: cut out what may be a login, whatever it holds
        return re.sub(r"://.*@", "://", address, flags=re.DOTALL).partition("?")[0]
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    telling = [pair for pair in parse_qsl(parts.query) if pair[0].lower() in _TELLING]
    query = f"?{urlencode(telling)}" if telling else ""
    path = _LOGIN.sub(r"\1", parts.path)
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{path}{query}"


def shown(source: str) -> str:
    """A source as it was given, fit for messages: an address without its login."""
    return without_login(source) if is_address(source) else source


def called(source: str | Path) -> str:
    """What a source is called in results: a file or folder by its name, an address without its login."""
    if is_address(str(source)):
        return without_login(str(source))
    path = Path(local_path(source))
    if os.path.isdir(path):
        with suppress(OSError):  # the current folder itself may be gone
            return path.resolve().name
    return path.name


def is_about(where: object, source: str) -> bool:
    """Whether the place that an error tells of names the source, or something in it."""
    text = str(where)
    return text.startswith((source, local_path(source))) or called(source) in (text, *Path(text).parts)


def require_possible(address: str) -> None:
    """Raises InputError for an address whose host or port cannot be."""
    try:
        _ = urlsplit(address).port
    except ValueError:  # whose text may quote a part of the login
        name = without_login(address)
        raise InputError("not a stream address", where=name, hint="Check its host and port") from None
