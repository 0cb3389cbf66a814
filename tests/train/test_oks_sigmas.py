"""Sigmas of the OKS loss: those that a configuration names, and those measured on two labellings."""

from __future__ import annotations

import json

import drawn
import numpy as np
import pytest
from click.testing import CliRunner

from heightpose.cli.data_verbs.sigmas import sigmas as verb
from heightpose.config import LossConfig
from heightpose.data.coco import Dataset
from heightpose.errors import ConfigError, HeightposeError
from heightpose.metrics import oks
from heightpose.skeleton import INFANT, MPII
from heightpose.train.oks_sigmas import chosen_sigmas, measure

#: What two labellers of the drawn set scatter by, in units of the root of the box's area.
TRUE = {"crown": 0.02, "heel": 0.05, "wrist": 0.03}


@pytest.fixture(scope="module")
def labellings(tmp_path_factory):
    """One set of pictures, labelled twice with known scatter."""
    folders = []
    for labeller in (1, 2):
        folder = tmp_path_factory.mktemp(f"labeller-{labeller}")
        drawn.nursery(folder, train=60, val=1, empty=1)
        rng = np.random.default_rng(labeller)

        def scatter(written, rng=rng):
            for annotation in written["annotations"]:
                area = annotation["bbox"][2] * annotation["bbox"][3]
                table = np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)
                spread = [TRUE.get(n.rpartition("_")[2], 0.01) for n in INFANT.names]
                table[:, :2] += rng.normal(0, 1, (len(table), 2)) * np.array(spread)[:, None] * np.sqrt(area)
                annotation["keypoints"] = table.ravel().tolist()

        drawn.rewrite(folder, scatter)
        folders.append(folder)
    return folders


def test_the_scatter_of_two_labellers_is_found_again(labellings):
    found = measure(*(Dataset.load(f) for f in labellings))
    assert found["people"] == 61
    for name, sigma in found["sigmas"].items():
        # of 61 or 122 pairs with two axes each, the standard error is at most a fifteenth
        assert sigma == pytest.approx(TRUE.get(name.rpartition("_")[2], 0.01), rel=0.25), name
    assert found["pairs"]["crown"] == 61
    assert found["pairs"]["left_heel"] == found["pairs"]["right_heel"] == 122
    assert found["sigmas"]["left_heel"] == found["sigmas"]["right_heel"]


def test_the_verb_writes_what_the_loss_reads(labellings, tmp_path):
    out = tmp_path / "sigmas.json"
    result = CliRunner().invoke(verb, [str(labellings[0]), str(labellings[1]), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "crown" in result.output
    loss = LossConfig(kind="oks", oks_sigmas="file", oks_file=str(out))
    written = json.loads(out.read_text())["sigmas"]
    assert chosen_sigmas(loss, MPII).tolist() == pytest.approx([written[n] for n in MPII.names])


def test_copied_labels_measure_nothing(labellings):
    whole = Dataset.load(labellings[0])
    few = Dataset(whole.path, whole.items[:5])
    with pytest.raises(HeightposeError, match="agree to the pixel"):
        measure(whole, whole)
    with pytest.raises(HeightposeError, match="too few labels"):
        measure(few, few)


def moved(source, place, name_of):
    """A labelling whose pictures have other names (by number)."""
    place.mkdir()
    written = json.loads((source / "annotations.json").read_text())
    for i, image in enumerate(written["images"]):
        picture = source / image["file_name"]
        image["file_name"] = name_of(i)
        (place / image["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        (place / image["file_name"]).symlink_to(picture)
    (place / "annotations.json").write_text(json.dumps(written))
    return Dataset.load(place)


def test_pictures_that_share_a_file_name_are_told_apart_by_their_folders(labellings, tmp_path):
    straight = measure(*(Dataset.load(f) for f in labellings))
    first = moved(labellings[0], tmp_path / "a", lambda i: f"clip-{i // 5}/{i % 5}.png")
    second = moved(labellings[1], tmp_path / "b", lambda i: f"images/clip-{i // 5}/{i % 5}.png")
    assert measure(first, second) == straight
    part = Dataset(second.path, second.items[12:58])
    assert measure(first, part)["people"] == sum(bool(i.people) for i in part.items)
    flat = moved(labellings[1], tmp_path / "c", lambda i: f"{i}.png")
    with pytest.raises(HeightposeError, match=r"not clear.*'0\.png'"):
        measure(first, flat)


def test_sigmas_by_name(tmp_path):
    assert chosen_sigmas(LossConfig(), INFANT).tolist() == pytest.approx(oks.sigmas(INFANT).tolist())
    uniform, third = (chosen_sigmas(LossConfig(oks_sigmas=n), INFANT) for n in ("uniform", "third"))
    assert uniform.tolist() == pytest.approx([1 / 21] * 21)
    assert third.tolist() == pytest.approx([1 / 63] * 21)
    bad = tmp_path / "bad.json"
    for text, match in (
        ("{", "not JSON"), ('{"sigmas": {"crown": -1}}', "not sigmas"), ('{"sigmas": {"crown": 0.1}}', "missing"),
    ):  # fmt: skip
        bad.write_text(text)
        with pytest.raises(HeightposeError, match=match):
            chosen_sigmas(LossConfig(oks_sigmas="file", oks_file=str(bad)), INFANT)
    with pytest.raises(ConfigError, match="oks_file"):
        chosen_sigmas(LossConfig(oks_sigmas="file"), INFANT)


def test_a_file_of_sigmas_that_is_not_used_is_told(caplog):
    for loss in (LossConfig(kind="oks", oks_file="sigmas.json"), LossConfig(oks_file="sigmas.json")):
        caplog.clear()
        chosen_sigmas(loss, INFANT)
        assert "loss.oks_file is not used" in caplog.text
