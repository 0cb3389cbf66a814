"""Where the product is used: the target distribution that somebody wrote down for ``--target``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from heightpose.errors import ConfigError
from heightpose.report.advice import Ranking


def read_target(path: Path) -> dict[str, dict[str, float]]:
    """``--target``: YAML or JSON, stratum -> value -> share. Shares are scaled to sum to 1 in every stratum.

    Raises:
        HeightposeError: it cannot be read, or a share is no number from 0.
    """
    from heightpose.textfile import read_yaml

    document = read_yaml(path, "target distribution", error=ConfigError)
    found: dict[str, dict[str, float]] = {}
    for stratum, shares in document.items() if isinstance(document, dict) else [("", None)]:
        if not isinstance(shares, dict) or not shares:
            raise ConfigError("not a target distribution", where=path, expected="stratum: {value: share}")
        for value, share in shares.items():
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < math.inf:
                raise ConfigError("not a share", where=f"{path}: {stratum}.{value}", got=share)
        total = sum(shares.values())
        if total <= 0:
            raise ConfigError("shares sum to nothing", where=f"{path}: {stratum}")
        found[str(stratum)] = {str(value): share / total for value, share in shares.items()}
    return found


def unknown_to(ranking: Ranking, target: Mapping[str, Mapping[str, float]]) -> list[str]:
    """``stratum=value`` of a target that the judged test set has nobody of: mistyped, or nothing is known of it."""
    if ranking.step is None or ranking.testset is None:
        return []
    there = ranking.step.results[ranking.testset][0].document["strata"]
    return [
        f"{stratum}={value}"
        for stratum, shares in target.items()
        for value, share in shares.items()
        if share > 0 and value not in there.get(stratum, {})
    ]
