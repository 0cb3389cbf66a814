"""YAML and JSON files of strangers, read without running, unfolding or swallowing anything.

Of a key that is there twice the parsers keep the last, and nobody would know that the first was left out.

``yaml.safe_load`` runs no code, but a few hundred bytes of aliases of aliases ("billion laughs"), or of merges of
merges, unfold into the machine's whole memory. So the parsed tree is counted as if unfolded before it is built.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heightpose.errors import FileFormatError, HeightposeError, InputError

#: Values in a file once its aliases are written out; a test set of 100,000 files has 200,000.
_MOST_VALUES = 1_000_000
#: A settings file has some kilobytes, a manifest of 100,000 files about 10 MB.
_LARGEST_BYTES = 32 << 20


def read_yaml(path: str | Path, what: str, *, error: type[HeightposeError] = FileFormatError) -> Any:
    """The content of a YAML file: plain Python values, None for an empty file.

    Args:
        what: what to call the file in messages, such as "sheet file".
        error: what to raise for content that is not YAML or not sane.

    Raises:
        InputError: the file cannot be read (or ``error`` where that is ConfigError's kind of mistake).
    """
    import yaml

    path = Path(path)
    try:
        if path.is_file() and path.stat().st_size > _LARGEST_BYTES:
            raise error(f"too large for a {what}", where=path, expected=f"at most {_LARGEST_BYTES >> 20} MB")
        text = path.read_text(encoding="utf-8")
    except OSError as trouble:
        kind = InputError if error is FileFormatError else error
        raise kind(
            f"cannot read the {what}", where=path, got=trouble.strerror or trouble, hint="Check the path"
        ) from trouble
    except ValueError as trouble:  # not UTF-8, or a name with a null byte
        raise error(f"the {what} is not YAML", where=path, got=trouble) from trouble
    try:
        loader = yaml.SafeLoader(text)  # the text is checked here already
        node = loader.get_single_node()
        if node is None:
            return None
        if _unfolded(node, {}) > _MOST_VALUES:
            raise error(
                f"the {what} unfolds without end",
                where=path,
                expected=f"at most {_MOST_VALUES} values",
                got="aliases of aliases",
            )
        _require_single_keys(node, loader, set())
        return loader.construct_document(node)
    except _TwiceError as trouble:
        raise _twice(path, what, trouble, error) from trouble
    except yaml.YAMLError as trouble:
        raise error(f"the {what} is not YAML", where=path, got=trouble) from trouble
    except RecursionError as trouble:
        raise error(f"the {what} is nested too deeply", where=path, got="brackets without end") from trouble
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as trouble:
        # What PyYAML lets through for an impossible date, a number of a thousand digits, a list as a key, ...
        raise error(
            f"the {what} cannot be understood", where=path, got=f"{type(trouble).__name__}: {trouble}"
        ) from trouble


def read_json(path: str | Path, what: str, *, hint: str | None = None) -> Any:
    """The content of a JSON file; ``what`` as for :func:`read_yaml`.

    Args:
        hint: what to do where it is not JSON.

    Raises:
        InputError: the file cannot be read. FileFormatError: it is not JSON, or has a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # editors on Windows write a mark first
        return json.loads(text, object_pairs_hook=_single_keys)
    except OSError as error:
        raise InputError(f"cannot read the {what}", where=path, got=error.strerror or error) from error
    except _TwiceError as error:
        raise _twice(path, what, error, FileFormatError) from error
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"the {what} is not JSON", where=path, got=error, hint=hint) from error


class _TwiceError(ValueError):
    """A key that is there twice."""


def _twice(
    path: str | Path, what: str, trouble: _TwiceError, error: type[HeightposeError]
) -> HeightposeError:
    return error(f"the {what} has a key twice", where=path, got=trouble, hint="Keep one of the two")


def _single_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key)
        found[key] = value
    return found


def _require_single_keys(node: Any, loader: Any, done: set[int]) -> None:
    """Raises _TwiceError where a mapping under the node has a key twice; what it merges in may be overridden."""
    import yaml

    if not isinstance(node, yaml.CollectionNode) or id(node) in done:
        return
    done.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _require_single_keys(item, loader, done)
        return
    keys = set()
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            name = loader.construct_object(key)
            if name in keys:
                raise _TwiceError(f"{key.value}, again in line {key.start_mark.line + 1}")
            keys.add(name)
        _require_single_keys(value, loader, done)


def _unfolded(node: Any, known: dict[int, int]) -> int:
    """Values under a YAML node with every alias written out; a node inside itself counts as endless."""
    import yaml

    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MOST_VALUES + 1  # while it is open: met again, it holds itself
    children = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
    total = 1
    for child in children:
        total = min(total + _unfolded(child, known), _MOST_VALUES + 1)
    known[id(node)] = total
    return total
