"""What a run trains on: mixed data sets, and a net for MPII's joints alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import drawn
import numpy as np
import pytest
import torch

from heightpose.cli.main import main
from heightpose.codec.heatmap import HeatmapCodec
from heightpose.config import (
    DataConfig,
    HardwareConfig,
    LossConfig,
    OptimConfig,
    PoseConfig,
    TrainConfig,
    from_dict,
)
from heightpose.errors import ConfigError, FileFormatError
from heightpose.metrics.pckh import head_sizes
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.description import pose_meta
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.networks import PoseModel
from heightpose.runtime.tta import FLIP
from heightpose.skeleton import INFANT, MPII
from heightpose.train import evidence, loop
from heightpose.train.pose_task import PoseTask
from heightpose.train.tasks import make_task
from heightpose.train.training_data import load_data, load_items


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two data sets: six and four infants to train on; children of their own in each."""
    root = tmp_path_factory.mktemp("data")
    for name, count, seed in (("photos", 6, 1), ("nursery", 4, 2)):
        drawn.nursery(root / name, train=count, val=2, seed=seed)

        def own_children(written, name=name):
            for annotation in written["annotations"]:
                annotation["child"] = f"{name} {annotation['child']}"

        drawn.rewrite(root / name, own_children)
    return str(root / "photos"), str(root / "nursery")


def settings(dirs, **data):
    return TrainConfig(
        data=DataConfig(dirs=tuple(dirs), **data),
        pose=PoseConfig(backbone="test_resnet", input_wh=(64, 64), sigma=1.5),
        optim=OptimConfig(epochs=1, batch_size=4),
        hardware=HardwareConfig(threads=1, accelerator="cpu", precision="32-true"),
    )


def drawn_of(training):
    """How many samples of each data set the next epoch draws."""
    seen = []
    sample = training.samples.sample
    training.samples.sample = lambda index, rng: seen.append(index) or sample(index, rng)
    list(training)
    training.samples.sample = sample
    names = [training.samples.item(i).path.parents[1].name for i in seen]
    return names.count("photos"), names.count("nursery"), sorted(seen)


def test_an_epoch_draws_each_data_set_as_often_as_the_configuration_says(folders):
    config = settings(folders, repeat=(0.5, 2.0))
    training, validation, about = load_data(config, make_task(config))
    training.batch_size = 1
    epochs = [drawn_of(training) for _ in range(6)]
    assert all(epoch[:2] == (3, 8) for epoch in epochs)
    assert len({tuple(epoch[2]) for epoch in epochs}) > 1  # a fresh half every time
    assert len(validation.samples) == sum(len(b["image"]) for b in validation) == 4  # never mixed
    assert about["data"]["train"] == {"pictures": 12, "samples": 10, "samples per epoch": 11}
    assert about["data"]["repeat"] == [0.5, 2.0]


def test_repeats_that_fit_no_data_set_are_refused(folders):
    for repeat, match in (((1.0,), "one number per data set"), ((1.0, -1.0), "out of range")):
        with pytest.raises(ConfigError, match=match):
            load_items(DataConfig(dirs=folders, repeat=repeat))
    with pytest.raises(ConfigError, match="one number per data set"):
        load_items(DataConfig(iteration="poc", repeat=(1.0,)))
    config = settings(folders, repeat=(0.0, 0.0))
    with pytest.raises(ConfigError, match="no picture would ever be drawn"):
        load_data(config, make_task(config))
    assert from_dict(DataConfig, {"dirs": list(folders), "repeat": [1, 0.25]}, "x").repeat == (1.0, 0.25)


@pytest.mark.parametrize("how", ["path", "link"])
def test_a_picture_in_train_of_one_set_and_val_of_another_is_refused(folders, tmp_path, how):
    """Nameless infants, so that no child tells."""
    pictures = Path(folders[0]) / "images"
    if how == "link":
        (tmp_path / "link").symlink_to(pictures)
    sets = []
    for split in ("train", "val"):
        shutil.copytree(folders[0], tmp_path / split, ignore=shutil.ignore_patterns("images"))
        where = tmp_path / "link" if how == "link" and split == "val" else pictures

        def all_in(written, split=split, where=where):
            for image in written["images"]:
                image.update(split=split, file_name=str(where / Path(image["file_name"]).name))
            for annotation in written["annotations"]:
                del annotation["child"]

        drawn.rewrite(tmp_path / split, all_in)
        sets.append(str(tmp_path / split))
    message = r"val/annotations.json.*the picture '000000.png' is in two splits.*train, as in .*got val"
    with pytest.raises(FileFormatError, match=message):
        load_items(DataConfig(dirs=tuple(sets)))
    assert len(load_items(DataConfig(dirs=(sets[0], sets[0])))[0]) == 20  # twice in one split


def test_pictures_of_a_stratum_are_drawn_more_often(folders, tmp_path):
    folder = tmp_path / "turned"
    shutil.copytree(folders[0], folder)

    def turn_two(written):
        for number, annotation in enumerate(written["annotations"]):
            annotation["strata"] = {"way_up": "sideways" if number < 2 else "upright"}

    drawn.rewrite(folder, turn_two)
    items, about = load_items(
        DataConfig(dirs=(str(folder),), repeat=(0.5,), oversample={"way_up=sideways": 4.0})
    )
    repeats = {p.strata["way_up"]: i.repeat for i in items for p in i.people}
    assert repeats == {"sideways": 2.0, "upright": 0.5}
    assert about == {"repeat": [0.5], "oversample": {"way_up=sideways": 4.0}}
    with pytest.raises(ConfigError, match="way_up=sideways, way_up=upright"):
        load_items(DataConfig(dirs=(str(folder),), oversample={"way_up=left": 2.0}))
    with pytest.raises(ConfigError, match="out of range"):
        load_items(DataConfig(dirs=(str(folder),), oversample={"way_up=sideways": -1.0}))
    read = from_dict(DataConfig, {"oversample": {"way_up=sideways": 2}}, "x")
    assert read.oversample == {"way_up=sideways": 2.0}
    assert len({read, read, DataConfig()}) == 2  # ablations tell trainings apart by their configuration
    for wrong in ([1], {"way_up=sideways": "often"}):
        with pytest.raises(ConfigError, match="wrong type"):
            from_dict(DataConfig, {"oversample": wrong}, "x")


def test_people_of_a_stratum_are_no_infants_to_a_detector(folders, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(folders[0], folder)

    def from_two_sources(written):
        for number, annotation in enumerate(written["annotations"]):
            annotation["strata"] = {"source": "lspet" if number % 2 else "nursery"}

    drawn.rewrite(folder, from_two_sources)
    data = DataConfig(dirs=(str(folder),), not_infants=("source=lspet",))
    items, about = load_items(data)
    assert {(p.strata["source"], p.is_infant) for i in items for p in i.people} == {
        ("lspet", False), ("nursery", True),
    }  # fmt: skip
    assert about == {"not infants": ["source=lspet"]}
    items, _ = load_items(replace(data, not_infants=("sensor=unknown",)))  # what labels leave out
    assert not any(p.is_infant for i in items for p in i.people if "sensor" not in p.strata)
    with pytest.raises(ConfigError, match=r"data\.not_infants.*source=mpii.*source=lspet, source=nursery"):
        load_items(replace(data, not_infants=("source=mpii",)))


def test_a_detector_learns_box_and_direction_alone_from_people_who_are_no_infants(folders, tmp_path):
    folder = tmp_path / "adults"
    shutil.copytree(folders[0], folder)
    drawn.rewrite(
        folder, lambda written: [a.update(strata={"source": "lspet"}) for a in written["annotations"]]
    )
    config = settings((str(folder),))
    config = replace(
        config, task="detector", data=replace(config.data, not_infants=("source=lspet",)),
        augment=replace(config.augment, negatives=0.0, mosaic=0.0),
    )  # fmt: skip
    task = make_task(config)
    validation = load_data(config, task)[1]
    assert all(not validation.samples.item(k).people for k in range(len(validation.samples)))
    batch = next(iter(load_data(config, task)[0]))
    raw = torch.zeros(len(batch["image"]), 7, 32, 32, requires_grad=True)
    sum(task.parts(raw, batch).values()).backward()
    (outside,) = {float(v) for v in batch["known"][batch["weight"] > 0]}
    assert outside == 0.0
    assert (raw.grad[:, 0][batch["known"] == 0] == 0).all()
    assert (raw.grad[:, 1:].abs().sum(dim=(1, 2, 3)) > 0).all()
    assert batch["centre"].max() < 1.0


def without_infants(folder, to, *splits):
    """A copy of a set with empty cots alone in some splits."""
    shutil.copytree(folder, to)

    def empty(written):
        images = {image["id"] for image in written["images"] if image["split"] in splits}
        written["annotations"] = [a for a in written["annotations"] if a["image_id"] not in images]

    drawn.rewrite(to, empty)
    return replace(settings((str(to),)), task="detector")


def test_a_detector_without_anything_to_learn_is_refused(folders, tmp_path):
    config = without_infants(folders[0], tmp_path / "empty", "train", "val")
    with pytest.raises(ConfigError, match="no infant in the training pictures"):
        load_data(config, make_task(config))
    config = replace(settings(folders), task="detector", loss=LossConfig(presence=0, box=0, angle=0))
    with pytest.raises(ConfigError, match="no part of the loss weighs anything"):
        load_data(config, make_task(config))
    config = replace(config, loss=replace(config.loss, balance="uncertainty"))  # has weights of its own
    load_data(config, make_task(config))


def test_a_detector_without_an_infant_to_validate_on_is_warned_of(folders, tmp_path, caplog):
    config = without_infants(folders[0], tmp_path / "empty", "val")
    load_data(config, make_task(config))
    assert "no infant in the split 'val': recall cannot be known" in caplog.text
    caplog.clear()
    config = replace(settings(folders), task="detector")
    load_data(config, make_task(config))
    assert not caplog.text


def mpii(config):
    return replace(config, pose=replace(config.pose, joints="mpii"))


def test_an_mpii_net_learns_and_is_judged_by_its_sixteen_joints(folders):
    full, sliced = (make_task(c) for c in (settings(folders), mpii(settings(folders))))
    validation = load_data(sliced.config, sliced)[1]
    batch, reference = next(iter(validation)), next(iter(load_data(full.config, full)[1]))
    assert batch["heatmaps"].shape[1] == batch["weights"].shape[1] == 16
    np.testing.assert_allclose(batch["kpts_crop"], reference["kpts_crop"][:, INFANT.indices(*MPII.names)])
    assert torch.equal(batch["weights"], reference["weights"][:, torch.from_numpy(sliced.taken)])
    perfect = sliced.metrics(sliced.validate(batch["heatmaps"], batch))
    assert perfect["MeanSmS@0.1"] == perfect["Mean@0.1"] == 100.0
    assert set(perfect["per joint"]) == set(MPII.names)
    assert perfect["error px"] < 0.1


def with_fine(wh, **pose):
    plain = settings(())
    return replace(plain, pose=replace(plain.pose, fine_wh=wh, **pose))


def test_a_finer_look_goes_into_the_weights_description():
    task = make_task(with_fine((96, 96)))
    net = task.net()
    assert net.training
    assert task.meta(net)["fine_wh"] == [96, 96]
    plain = make_task(settings(()))
    assert "fine_wh" not in plain.meta(plain.net())


@pytest.mark.parametrize(
    ("wh", "pose", "words"),
    [
        ((64, 64), {}, "not a finer size"),
        ((96, 128), {}, "not a finer size"),
        ((80, 80), {}, "takes no input of this size"),
        ((96, 96), {"backbone": "vit_tiny_patch16_224", "head": "deconv"}, "takes no input of this size"),
    ],
)
def test_a_finer_look_that_the_network_cannot_have_is_refused(wh, pose, words):
    with pytest.raises(ConfigError, match=words):
        make_task(with_fine(wh, **pose)).net()


def test_a_share_of_the_batches_is_of_the_finer_size(folders):
    config = with_fine((96, 96), fine_share=0.5)
    config = replace(
        config, data=replace(config.data, dirs=folders), optim=replace(config.optim, batch_size=1)
    )
    task = make_task(config)

    def sizes():
        training = load_data(config, task)[0]
        found = []
        for batch in (*training, *training):
            side = batch["image"].shape[-1]
            codec = HeatmapCodec((side, side), (side // 4, side // 4), 1.5)
            assert task.is_fine(batch) == (side == 96)
            kpts, _ = codec.decode(batch["heatmaps"].numpy())
            off_map = np.abs(batch["kpts_crop"] - side / 2) > side / 2 - 8
            apart = np.linalg.norm(kpts - batch["kpts_crop"], axis=-1)
            assert apart[(batch["visibility"] > 0) & ~off_map.any(axis=-1)].max() < 0.2
            found.append(side)
        return found

    assert 4 < sizes().count(96) < 16  # of 20
    assert sizes() == sizes()
    assert {batch["image"].shape[-1] for batch in load_data(config, task)[1]} == {64}
    assert {batch["image"].shape[-1] for batch in load_data(config, task, same=True)[0]} == {64}


def test_a_net_trained_in_two_sizes_is_written_for_both(folders, tmp_path):
    config = with_fine((96, 96), fine_share=0.5)
    config = replace(config, data=replace(config.data, dirs=folders))
    run = loop.train(config, tmp_path)
    model = PoseModel.load(str(run.onnx))
    for one, side in ((model, 16), (model.fine, 24)):
        assert one.codec.heatmap_wh == (side, side)
        batch = np.zeros((1, 3, 4 * side, 4 * side), np.float32)
        assert one.backend.run(batch).shape == (1, 21, side, side)
    assert json.loads((tmp_path / "diagnostics.json").read_text())["evidence"]["kind"] == "pose"


@pytest.mark.parametrize(("data", "words"), [({"on_device": True}, "have one size"), ({}, "need one")])
def test_batches_of_a_finer_size_that_cannot_be_are_refused(data, words, folders):
    fine = (96, 96) if data else None
    config = replace(with_fine(fine, fine_share=0.5), data=DataConfig(dirs=folders, **data))
    with pytest.raises(ConfigError, match=words):
        load_data(config, make_task(config))


def test_a_teacher_of_one_size_is_refused_for_batches_of_two(tmp_path):
    teacher = PoseNet("test_vit2", 21, "upsample", input_wh=(128, 128), heatmap_wh=(32, 32))
    codec = HeatmapCodec((128, 128), (32, 32), 1.5)
    path = tmp_path / "teacher.safetensors"
    save_weights(path, teacher.state_dict(), pose_meta(teacher, INFANT.names, codec))
    for share in (0.0, 0.5):
        config = with_fine((192, 192), input_wh=(128, 128), fine_share=share)
        config = replace(config, loss=replace(config.loss, teacher=str(path)))
        if share == 0.0:
            assert make_task(config).teacher is not None
            continue
        with pytest.raises(ConfigError, match="takes no input of this size"):
            make_task(config)


def test_without_a_crown_the_head_reaches_from_neck_to_head_top():
    truth = np.zeros((1, 16, 2))
    truth[0, MPII.index("head_top")] = 3.0, 4.0
    size, known = head_sizes(truth, np.ones((1, 16), bool), MPII)
    assert size.tolist() == [5.0]
    assert known.all()


def test_pretrained_on_sixteen_joints_then_extended_to_all_and_back(folders, tmp_path):
    """16 -> 21 copies a new joint's channel from its nearest; 21 -> 16 keeps the joints it has."""
    config = mpii(settings(folders))
    run = loop.train(config, tmp_path / "sixteen")
    first, meta = load_weights(run.weights)
    assert meta["joints"] == list(MPII.names)
    assert PoseModel.load(str(run.onnx), backend="onnxruntime").skeleton.names == MPII.names
    assert set(run.metrics["last"]["per joint"]) == set(MPII.names)
    sixteen = PoseModel.load(str(run.onnx), backend="onnxruntime")
    with pytest.raises(FileFormatError, match=r"does not give the joints that are judged.*got 16"):
        evidence.collect([], None, sixteen, [FLIP])

    whole = PoseTask(replace(settings(folders), start_from=str(run.weights)))
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        before, after = first.eval()(image), whole.net().eval()(image)
    torch.testing.assert_close(after[:, :16], before)
    for joint, nearest in INFANT.init_from.items():
        torch.testing.assert_close(after[:, INFANT.index(joint)], before[:, MPII.index(nearest)])

    extended = loop.train(whole.config, tmp_path / "all")
    assert load_weights(extended.weights)[1]["joints"] == list(INFANT.names)
    back = PoseTask(replace(config, start_from=str(extended.weights))).net().eval()
    with torch.no_grad():
        torch.testing.assert_close(back(image), load_weights(extended.weights)[0](image)[:, :16])


def test_a_published_state_dict_without_joint_names_is_read_by_its_number_of_channels(folders, tmp_path):
    net = PoseTask(mpii(settings(folders))).net()
    torch.save(net.state_dict(), tmp_path / "sixteen.pth")
    whole = PoseTask(replace(settings(folders), start_from=str(tmp_path / "sixteen.pth"))).net()
    crown, top = INFANT.index("crown"), MPII.index("head_top")
    assert torch.equal(whole.head.out.weight[crown], net.head.out.weight[top])


@pytest.mark.parametrize("option", ["--init", "--start-from"])
def test_weights_to_start_from_that_are_none_end_before_the_training(option, folders, tmp_path, capsys):
    weights, config = tmp_path / "weights.pth", tmp_path / "config.yaml"
    torch.save({"weights": torch.tensor([float("nan")])}, weights)
    config.write_text("task: pose\npose: {input_wh: [64, 64]}\n")
    arguments = [
        "train",
        str(config),
        "--data",
        folders[0],
        option,
        str(weights),
        "--out",
        str(tmp_path / "run"),
    ]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--wandb", "off"])
    assert ended.value.code == 2
    assert "weights.pth" in capsys.readouterr().err
    assert not (tmp_path / "run" / "best.safetensors").exists()
