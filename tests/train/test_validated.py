"""Which pictures judge a training's weights."""

from __future__ import annotations

from dataclasses import replace

import drawn
import pytest
from tinynet import TinyNet, settings

from heightpose.config import ValidationConfig
from heightpose.errors import ConfigError
from heightpose.train import loop
from heightpose.train.resume import judged_on
from heightpose.train.tasks import make_task
from heightpose.train.training_data import load_data


@pytest.fixture
def mixed(tmp_path):
    """Six infants to train on and four to validate on, every other one an adult's photograph."""
    folder = tmp_path / "mixed"
    drawn.nursery(folder, train=6, val=4)

    def from_two_sources(written):
        for number, annotation in enumerate(written["annotations"]):
            annotation["strata"] = {"source": "lspet" if number % 2 else "nursery"}

    drawn.rewrite(folder, from_two_sources)
    return folder


def _config(folder, *leave_out):
    return replace(settings(folder), validation=ValidationConfig(leave_out=leave_out))


def _sources(batches):
    samples = batches.samples
    return [p.strata["source"] for k in range(len(samples)) for p in samples.item(k).people]


def test_pictures_of_a_kind_are_learned_from_and_judge_nothing(mixed):
    config = _config(mixed, "source=lspet")
    training, validation, _ = load_data(config, make_task(config))
    assert _sources(training) == ["nursery", "lspet"] * 3
    assert _sources(validation) == ["nursery"] * 2


def test_training_figures_are_of_the_kind_that_is_validated_on(mixed):
    config = _config(mixed, "source=lspet")
    task = make_task(config)
    seen = []
    validate = task.validate
    task.validate = lambda raw, batch: seen.append(len(raw)) or validate(raw, batch)
    training = load_data(config, task)[0]
    assert loop.on_train(TinyNet(), task, training)["MeanSmS@0.1"] >= 0
    assert sum(seen) == 3


def test_of_adults_alone_nothing_is_a_training_figure(mixed):
    drawn.rewrite(mixed, lambda w: [a.update(strata={"source": "lspet"}) for a in w["annotations"][:6]])
    config = _config(mixed, "source=lspet")
    task = make_task(config)
    assert loop.on_train(TinyNet(), task, load_data(config, task)[0]) == {}


def test_something_must_be_left_and_the_kind_must_exist(mixed):
    with pytest.raises(
        ConfigError, match=r"validation\.leave_out.*source=mpii.*source=lspet, source=nursery"
    ):
        load_data(_config(mixed, "source=mpii"), make_task(_config(mixed)))
    with pytest.raises(ConfigError, match="leave_out leaves no other: add data"):
        load_data(_config(mixed, "source=lspet", "source=nursery"), make_task(_config(mixed)))


def test_scores_on_other_pictures_do_not_compare(mixed):
    assert judged_on(_config(mixed, "source=lspet"), {"hash": "1"}) != judged_on(
        _config(mixed), {"hash": "1"}
    )
