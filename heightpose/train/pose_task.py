"""The training of a pose net: its network, batches, loss and validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heightpose.codec.decoders import decode
from heightpose.codec.heatmap import DARK, EXPECTATION, HeatmapCodec
from heightpose.config import AugmentConfig, LossConfig, TrainConfig
from heightpose.data.items import Item, Person
from heightpose.data.pictures import Pictures
from heightpose.data.samples import Placement, PoseSample, PoseSamples, labelled_people
from heightpose.errors import ConfigError
from heightpose.geometry.crop import CropTransform
from heightpose.metrics.pckh import head_sizes, summary
from heightpose.models.checkpoint import load_weights, read_state
from heightpose.models.description import pose_meta
from heightpose.models.expectation import softmax_maps, softmax_scale
from heightpose.models.pose_net import PoseNet, resolve_head
from heightpose.models.transfer import is_classifier, joints_of, start_from
from heightpose.runtime.modelfile import FINE_WH, fine_heatmap, require_fine_size
from heightpose.runtime.tta import Tta
from heightpose.skeleton import EDGE_JOINTS, INFANT, MPII, Skeleton
from heightpose.train.coordinates import coordinate_losses, cross_entropy, expectation, oks_losses
from heightpose.train.losses import Tally, heatmap_losses, weighted_mean
from heightpose.train.oks_sigmas import chosen_sigmas
from heightpose.train.task_parts import Batch, mean_of, to_tensor

#: The threshold, in head sizes, of the headline numbers.
PCKH_AT = 0.1

#: What ``pose.joints`` may name.
SKELETONS = {"infant": INFANT, "mpii": MPII}


class PoseTask:
    """Joints from head-up crops. Validation crops the true boxes: the detector plays no part in it."""

    kind = "pose"

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        width, height = config.pose.input_wh
        #: Whether the net answers with coordinates instead of maps.
        self.coordinates = resolve_head(config.pose.backbone, config.pose.head) == "regression"
        #: Whether the maps are logits of a spatial softmax that is read by its expectation.
        self.softmax = config.loss.kind != "heatmap" and not self.coordinates
        decoder = EXPECTATION if self.softmax else DARK
        heatmap_wh = config.pose.heatmap_wh
        heatmap_wh = (width // 4, height // 4) if heatmap_wh is None else heatmap_wh
        self.codec = HeatmapCodec((width, height), heatmap_wh, config.pose.sigma, decoder)
        self.fine_wh = _fine_wh(config, self.codec)
        if self.coordinates and config.loss.kind == "cross_entropy":
            raise ConfigError(
                "a net that gives coordinates has no maps", where="loss.kind", got=config.loss.kind,
                expected="heatmap (which then is l1), l1, euclidean, smooth_l1, wing or oks",
            )  # fmt: skip
        if self.coordinates and config.loss.teacher is not None:
            raise ConfigError(
                "a teacher tells heatmaps, and this net gives coordinates", where="loss.teacher",
                got=config.loss.teacher, hint="Leave it out, or choose another pose.head",
            )  # fmt: skip
        if config.loss.balance != "fixed":
            raise ConfigError(
                "a pose net has one loss: nothing to balance", where="loss.balance", got=config.loss.balance
            )
        # An ablation would find out after the training.
        views = Tta.parse(config.validation.tta, "validation.tta")
        if str(views) != "none" and (self.coordinates or self.softmax):
            raise ConfigError(
                "only heatmaps are merged over several looks", where="validation.tta", got=str(views),
                expected="none for this head and loss",
            )  # fmt: skip
        self.skeleton = SKELETONS[config.pose.joints]
        #: ``(K,)`` indices of the net's joints in the data's.
        self.taken = INFANT.indices(*self.skeleton.names)
        # A joint weighs the same in a net for fewer joints.
        self.joint_weights = joint_weights(config.loss)[self.taken]
        self.part_names = self.skeleton.names
        self.teacher = load_teacher(config, self.codec, self.skeleton)
        if self.teacher is not None and self.fine_wh is not None and config.pose.fine_share > 0:
            self.teacher.require_fine(self.fine_wh)
        self.oks_sigmas = torch.from_numpy(chosen_sigmas(config.loss, self.skeleton))

    @property
    def input_wh(self) -> tuple[int, int]:
        """Of the network, px."""
        return self.codec.input_wh

    def net(self) -> nn.Module:
        pose, file = self.config.pose, self.config.start_from
        state, meta = ({}, None) if file is None else read_state(Path(file))
        if meta is not None and "joints" not in meta:
            raise ConfigError("these are a detector's weights", where="start_from", expected="a pose net's")
        # A trunk alone goes the way of pose.pretrained: timm knows its own names.
        trunk_alone = (
            (Path(file), state) if file is not None and meta is None and is_classifier(state) else None
        )
        net = PoseNet(
            pose.backbone, len(self.skeleton), pose.head, pretrained=trunk_alone or pose.pretrained,
            input_wh=self.codec.input_wh, heatmap_wh=self.codec.heatmap_wh,
        )  # fmt: skip
        if file is not None and trunk_alone is None:
            source = joints_of(state) if meta is None else meta["joints"]
            nearest = self.config.init_new_joints == "nearest"
            start_from(net, state, source, self.skeleton.names, copy_nearest=nearest)
        net.softmax_scale = softmax_scale(self.codec.sigma) if self.softmax else None
        if self.fine_wh is not None:
            net.require_fine(self.fine_wh)
        return net

    def finer(self) -> PoseTask | None:
        """The task at the size of the finer look, for its batches; None where none are wanted."""
        if self.fine_wh is None or self.config.pose.fine_share == 0:
            return None
        heatmap_wh = fine_heatmap(self.fine_wh, self.codec.input_wh, self.codec.heatmap_wh)
        pose = replace(
            self.config.pose, input_wh=self.fine_wh, heatmap_wh=heatmap_wh, fine_wh=None, fine_share=0.0
        )
        # What a teacher says is asked of this task.
        return PoseTask(replace(self.config, pose=pose, loss=replace(self.config.loss, teacher=None)))

    def is_fine(self, batch: Batch) -> bool:
        """Whether a batch is of the finer look's size."""
        return tuple(batch["image"].shape[:1:-1]) != self.codec.input_wh

    def relabel(self, item: Item) -> Item:
        """The picture with the labels of the net's joints alone."""
        return item if self.skeleton is INFANT else item.with_joints(self.taken)

    def count(self, item: Item) -> int:
        """How many samples a picture gives that can be learned and judged."""
        return len(labelled_people(item, self.skeleton))

    def samples(self, pictures: Pictures, augment: AugmentConfig | None) -> PoseSamples:
        return PoseSamples(pictures, self.codec, augment, self.skeleton)

    def learners(self, people: Iterable[Person]) -> np.ndarray:
        """``(K,)`` of how many people each joint has a weight in the loss."""
        count = np.zeros(len(self.skeleton), dtype=int)
        for person in people:
            count += self.loss_weight(np.where(person.out_of_frame, 0, person.visibility)) > 0
        return count

    def require_learnable(self, samples: PoseSamples, split: str) -> None:
        """Raises ConfigError where no label of a split's samples weighs anything in the loss.

        Asked of the crops that are not varied: labels that lie outside of those belong to other boxes.
        """
        plain = self.samples(samples.pictures, None)
        rng = np.random.default_rng(0)  # from which such crops draw nothing
        if any(self.points([plain.place(k, rng)])["weights"].any() for k in range(len(plain))):
            return
        what = "learned" if split == "train" else "judged, and every loss 0"
        raise ConfigError(
            f"no label of these pictures weighs anything in the loss: nothing would be {what}",
            where=f"loss, split '{split}'",
            hint="Give hidden joints a weight (loss.hidden_weight, loss.visible_only: false), label seen ones, or "
            "see whether boxes and joints lie together",
        )  # fmt: skip

    def loss_weight(self, visibility: np.ndarray) -> np.ndarray:
        """``(..., K)`` visibility to the weight each joint has in the loss."""
        hidden = 0.0 if self.config.loss.visible_only else self.config.loss.hidden_weight
        return np.choose(visibility, [0.0, hidden, 1.0]).astype(np.float32) * self.joint_weights

    def collate(self, samples: list[PoseSample]) -> Batch:
        return {"image": to_tensor([s.image for s in samples])} | self.labels(samples)

    def labels(self, samples: Sequence[PoseSample | Placement]) -> Batch:
        """A batch without its pictures."""
        points = self.points(samples)
        heatmaps, _ = self.codec.encode(points["kpts_crop"], points["visibility"] > 0)
        return points | {"heatmaps": torch.from_numpy(heatmaps)}

    def points(self, samples: Sequence[PoseSample | Placement]) -> Batch:
        """A batch without pictures and heatmaps, which a device can draw by itself."""
        visibility = np.stack([s.visibility for s in samples])
        kpts_crop = np.stack([s.kpts_crop for s in samples])
        labelled = visibility > 0
        kpts_hm, inside = self.codec.reachable(kpts_crop, labelled)
        return {
            "weights": torch.from_numpy(inside * self._reachable(kpts_crop) * self.loss_weight(visibility)),
            "kpts_hm": torch.from_numpy(np.where(labelled[..., None], kpts_hm, 0.0).astype(np.float32)),
            "area_hm": torch.from_numpy(_area_hm(kpts_hm, labelled)),
            # numpy: stays on this side when the batch moves to another device
            "kpts_crop": kpts_crop,
            "visibility": visibility,
            "matrices": np.stack([s.transform.matrix for s in samples]),
        }

    def _reachable(self, kpts_crop: np.ndarray) -> np.ndarray:
        """``(N, K)`` float32: 0 for joints off the map where only the map's own places can be answered."""
        if self.coordinates or self.config.loss.kind in ("heatmap", "cross_entropy"):
            return np.ones(kpts_crop.shape[:2], dtype=np.float32)
        size = np.array(self.codec.input_wh)
        with np.errstate(invalid="ignore"):
            inside = (kpts_crop >= -0.5) & (kpts_crop <= size - 0.5)
        return np.asarray(inside.all(axis=-1), dtype=np.float32)

    def taught(self, batch: Batch) -> Batch:
        """The batch with its heatmaps moved towards the teacher's answer by ``loss.teacher_share``.

        The squared error from the mean of two targets has the gradient of the mean of both errors (Zhang et al.,
        "Fast Human Pose Estimation", CVPR 2019, eq. 6). Joints without a label stay without a loss.
        """
        if self.teacher is None:
            return batch
        image = batch["image"]
        with torch.no_grad():
            answer = self.teacher.to(image.device)(image.float()).float().clamp(0.0, 1.0)
        return batch | {"heatmaps": batch["heatmaps"].lerp(answer, self.config.loss.teacher_share)}

    def loss(self, raw: Tensor, batch: Batch, tally: Tally | None = None) -> Tensor:
        """Weighted mean over joints; ``tally`` takes them one by one."""
        losses, weights = self.joint_losses(raw, batch), batch["weights"]
        if tally is not None:
            tally.add(losses, weights)
        return weighted_mean(losses, weights)

    def joint_losses(self, raw: Tensor, batch: Batch) -> Tensor:
        """``(N, K)``: what ``loss.kind`` names, of each joint."""
        how, target = self.config.loss, batch["heatmaps"]
        if isinstance(raw, list):  # a stacked hourglass learns from what each of its stacks says
            return torch.stack([self.joint_losses(one, batch) for one in raw]).mean(dim=0)
        if how.kind == "heatmap" and not self.coordinates:
            return heatmap_losses(raw, target, self.codec.sigma)
        if how.kind == "cross_entropy":
            return cross_entropy(raw, target)
        found = self._in_heatmap(raw.float()) if self.coordinates else expectation(raw)
        if how.kind == "oks":
            sigmas = self.oks_sigmas.to(raw.device)
            losses = oks_losses(found, batch["kpts_hm"], batch["area_hm"], sigmas)
        else:
            kind = "l1" if how.kind == "heatmap" else how.kind  # the default of a net that gives coordinates
            losses = coordinate_losses(kind, (found - batch["kpts_hm"]) / self.codec.sigma)
        if self.coordinates:
            return losses
        return losses + how.shape * cross_entropy(raw, target) if how.shape > 0 else losses

    def _in_heatmap(self, kpts_crop: Tensor) -> Tensor:
        """``(N, K, 2)`` crop px to heatmap px, as :func:`~heightpose.geometry.crop.hm_from_crop` does."""
        scale = [h / i for h, i in zip(self.codec.heatmap_wh, self.codec.input_wh, strict=True)]
        return (kpts_crop + 0.5) * torch.tensor(scale, device=kpts_crop.device) - 0.5

    def answer(self, raw: Tensor) -> np.ndarray:
        """The network's raw maps as heatmaps, as a file of it would give them."""
        maps = softmax_maps(raw, softmax_scale(self.codec.sigma)) if self.softmax else raw.float()
        return maps.cpu().numpy()

    def validate(self, raw: Tensor, batch: Batch) -> list[Any]:
        """Per person: prediction and truth in frame px, visibility."""
        if self.coordinates:
            kpts_crop = raw.double().cpu().numpy()
        else:
            kpts_crop, _ = decode(self.codec, self.answer(raw), self.config.validation.decode)
        return [
            (crop.to_frame(pred), crop.to_frame(truth), seen)
            for crop, pred, truth, seen in zip(
                (CropTransform(m, self.codec.input_wh) for m in batch["matrices"]),
                kpts_crop,
                batch["kpts_crop"],
                batch["visibility"],
                strict=True,
            )
        ]

    def metrics(self, results: list[Any]) -> dict[str, Any]:
        """Mean@0.1 and MeanSmS@0.1 on true boxes, pixel error, by joint."""
        pred, truth, seen = (np.stack(column) for column in zip(*results, strict=True))
        scores = summary(pred, truth, seen, PCKH_AT, skeleton=self.skeleton)
        error = np.linalg.norm(pred - truth, axis=-1)
        size, known = head_sizes(truth, seen > 0, self.skeleton)
        relative = (error / np.where(known, size, 1.0)[:, None])[(seen == 2) & known[:, None]]
        return {
            "Mean@0.1": scores["mean"],
            "MeanSmS@0.1": scores["mean_sms"],
            "hidden Mean@0.1": scores["hidden_mean"],
            "hidden MeanSmS@0.1": scores["hidden_mean_sms"],
            "error px": mean_of(error[seen == 2]),
            "median error heads": float(np.median(relative)) if relative.size else None,
            "people": len(results),
            "per joint": scores["per_joint"],
            "counts": scores["counts"],
        }

    def score(self, metrics: dict[str, Any]) -> float | None:
        """What the best weights are chosen by, higher is better."""
        return metrics["MeanSmS@0.1"]

    def meta(self, net: nn.Module, **extra: Any) -> dict[str, Any]:
        assert isinstance(net, PoseNet)
        if self.fine_wh is not None:
            extra[FINE_WH] = list(self.fine_wh)
        return pose_meta(net, self.skeleton.names, self.codec, **extra)


def _fine_wh(config: TrainConfig, codec: HeatmapCodec) -> tuple[int, int] | None:
    """``pose.fine_wh``. ConfigError for a size that is no finer one, or batches of none."""
    if config.pose.fine_wh is None:
        if config.pose.fine_share > 0:
            raise ConfigError(
                "batches of a finer size need one", where="pose.fine_share", got=config.pose.fine_share,
                hint="Give pose.fine_wh",
            )  # fmt: skip
        return None
    return require_fine_size(config.pose.fine_wh, codec.input_wh, codec.heatmap_wh, "pose.fine_wh")


def _area_hm(kpts_hm: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """``(N,)`` float32 heatmap px^2: of the box around each person's labelled joints, at least 1."""
    high = np.where(labelled[..., None], kpts_hm, -np.inf).max(axis=1)
    low = np.where(labelled[..., None], kpts_hm, np.inf).min(axis=1)
    return np.maximum((high - low).clip(min=0.0).prod(axis=-1), 1.0).astype(np.float32)


def load_teacher(config: TrainConfig, codec: HeatmapCodec, skeleton: Skeleton) -> PoseNet | None:
    """The network that ``loss.teacher`` names, ready to answer; None without one.

    Raises:
        ConfigError: the loss has no heatmaps to mix, or the teacher's answers are of another form.
        FileFormatError: not a weights file of ours.
    """
    path = config.loss.teacher
    if path is None:
        return None
    if config.loss.kind != "heatmap":
        raise ConfigError(
            "a teacher tells heatmaps", where="loss.kind", got=config.loss.kind, expected="heatmap"
        )
    net, meta = load_weights(path)
    own = {
        "joints": list(skeleton.names), "input_wh": list(codec.input_wh), "heatmap_wh": list(codec.heatmap_wh),
        "sigma": codec.sigma, "decoder": codec.decoder, "output": "heatmaps",
    }  # fmt: skip
    # Maps that were learned by their mean position need not be peaks: they teach nothing of heatmaps.
    theirs = {name: ({"decoder": DARK, "output": "heatmaps"} | meta).get(name) for name in own}
    if not isinstance(net, PoseNet) or theirs != own:
        raise ConfigError(
            "the teacher answers in another form", where="loss.teacher", got=theirs, expected=own,
            hint="Name a pose net of the same joints, input and heatmaps that was trained with loss.kind heatmap",
        )  # fmt: skip
    net.requires_grad_(False)
    return net.to(memory_format=torch.channels_last) if config.hardware.channels_last else net


def joint_weights(loss: LossConfig) -> np.ndarray:
    """``(21,)`` float32: what each of the data's joints weighs in the loss."""
    weights = np.array(INFANT.loss_weights, dtype=np.float32) ** loss.joint_weights
    weights[INFANT.indices(*EDGE_JOINTS)] *= loss.edge_weight
    return weights
