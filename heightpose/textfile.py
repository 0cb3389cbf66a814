"""YAML files of strangers, read without running, unfolding or swallowing anything.

``yaml.safe_load`` runs no code, but a few hundred bytes of aliases of aliases ("billion laughs"), or of merges of
merges, unfold into the machine's whole memory. So the parsed tree is counted as if unfolded before it is built.
"""

from __future__ import annotations

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
        return loader.construct_document(node)
    except yaml.YAMLError as trouble:
        raise error(f"the {what} is not YAML", where=path, got=trouble) from trouble
    except RecursionError as trouble:
        raise error(f"the {what} is nested too deeply", where=path, got="brackets without end") from trouble
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as trouble:
        # What PyYAML lets through for an impossible date, a number of a thousand digits, a list as a key, ...
        raise error(
            f"the {what} cannot be understood", where=path, got=f"{type(trouble).__name__}: {trouble}"
        ) from trouble


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
