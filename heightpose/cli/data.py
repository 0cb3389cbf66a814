"""``heightpose data``: the data desk. One module per verb in :mod:`heightpose.cli.data_verbs`."""

from __future__ import annotations

import click

from heightpose.cli.lazy import LazyGroup

VERBS = {
    "import": "Read COCO, MPII, LSP, LabelMe, CVAT or Label Studio labels into a data set.",
    "export": "Write a data set as plain COCO for annotation tools.",
    "validate": "Read a data set strictly and name every broken item.",
    "iteration": "Named, ordered, hashed chunks of data: new, list, show, diff.",
    "freeze": "Freeze a test set by hash, or check that it did not change.",
    "suggest": "Pick the frames worth a label, with the model's joints to correct.",
    "check": "Rank the labels most likely to be wrong, with pictures.",
    "stats": "Channels, sizes, angles, visibility and strata of a data set.",
    "preview": "Draw augmented samples, to judge whether they look real.",
    "sigmas": "Sigmas of the OKS loss from two labellings of the same pictures.",
}


@click.group("data", cls=LazyGroup, package="heightpose.cli.data_verbs", verbs=VERBS)
def data() -> None:
    """Import, check and describe data sets and data iterations.

    \b
    Examples:
      heightpose data import lsp lspet/ --out lspet-set
      heightpose data check nursery --out report
      heightpose data iteration list --root iterations
    """
