"""The training of a detector: its network, batches, loss and validation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heightpose.codec import detection as detection_codec
from heightpose.config import AugmentConfig, TrainConfig
from heightpose.data.detector_samples import DetectorSample, DetectorSamples, can_teach
from heightpose.data.items import Item
from heightpose.data.pictures import Pictures
from heightpose.errors import ConfigError
from heightpose.metrics.detection import Answer, answers
from heightpose.models.checkpoint import read_state
from heightpose.models.description import detector_meta
from heightpose.models.detector_net import DetectorNet
from heightpose.models.transfer import warn_of_fresh
from heightpose.train.losses import DETECTION_PARTS, Tally, detection_parts
from heightpose.train.task_parts import Batch, mean_of, to_tensor

log = logging.getLogger(__name__)


class DetectorTask:
    """Infants in whole frames, with their head direction."""

    kind = "detector"
    #: Of the network, px.
    input_wh = detection_codec.INPUT_WH

    def __init__(self, config: TrainConfig) -> None:
        if config.loss.teacher is not None:
            raise ConfigError("a detector has no teacher", where="loss.teacher", got=config.loss.teacher)
        self.config = config
        self.part_names = DETECTION_PARTS

    def net(self) -> nn.Module:
        detector = self.config.detector
        net = DetectorNet(detector.backbone, detector.width, pretrained=detector.pretrained)
        if self.config.start_from is not None:
            state, _ = read_state(Path(self.config.start_from))
            own = net.state_dict()
            fits = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
            if not any(v.ndim >= 2 for v in fits.values()):  # a counter of batches is no layer
                raise ConfigError("the weights fit no layer of the detector", where="start_from")
            net.load_state_dict(fits, strict=False)
            warn_of_fresh(own, fits)
        return net

    def relabel(self, item: Item) -> Item:
        """The picture as it is."""
        return item

    def count(self, item: Item) -> int:
        """How many samples a picture gives that can be learned and judged."""
        return int(can_teach(item, training=False))

    def samples(self, pictures: Pictures, augment: AugmentConfig | None) -> DetectorSamples:
        return DetectorSamples(pictures, augment)

    def require_learnable(self, samples: DetectorSamples, split: str) -> None:
        """Raises ConfigError where training pictures teach nothing; warns where validation cannot know the recall."""
        anybody = any(samples.item(k).people for k in range(len(samples)))
        if split != "train":
            if not anybody:
                log.warning(
                    "no infant in the split '%s': recall cannot be known, the best weights are chosen by empty cots "
                    "alone",
                    split,
                )
            return
        if not anybody:
            raise ConfigError(
                "no infant in the training pictures: where one is would not be learned", where=f"split '{split}'",
                hint="Add pictures of infants whose labels are complete: head direction, infants_in_view",
            )  # fmt: skip
        loss = self.config.loss
        if loss.balance == "fixed" and not (loss.presence or loss.box or loss.angle):
            raise ConfigError(
                "no part of the loss weighs anything: nothing would be learned",
                where="loss.presence, loss.box, loss.angle", got="0, 0, 0", hint="Leave them out for the defaults",
            )  # fmt: skip

    def collate(self, samples: list[DetectorSample]) -> Batch:
        targets = [detection_codec.encode_targets(s.boxes_xyxy_in, s.angles_deg, s.infant) for s in samples]
        batch: Batch = {k: torch.from_numpy(np.stack([t[k] for t in targets])) for k in targets[0]}
        batch["image"] = to_tensor([s.image for s in samples])
        batch["boxes"] = [s.boxes_xyxy_in for s in samples]
        batch["angles"] = [s.angles_deg for s in samples]
        return batch

    def taught(self, batch: Batch) -> Batch:
        """The batch as it is."""
        return batch

    def parts(self, raw: Tensor, batch: Batch, tally: Tally | None = None) -> dict[str, Tensor]:
        """The losses of presence, box and angle."""
        parts = detection_parts(raw, batch["centre"], batch["regression"], batch["weight"], batch["known"])
        if tally is not None:
            values = torch.stack([parts[name] for name in self.part_names])
            tally.add(values, torch.ones_like(values))
        return parts

    def loss(self, raw: Tensor, batch: Batch, tally: Tally | None = None) -> Tensor:
        """The parts with their fixed weights."""
        parts, fixed = self.parts(raw, batch, tally), self.config.loss
        return fixed.presence * parts["presence"] + fixed.box * parts["box"] + fixed.angle * parts["angle"]

    @staticmethod
    def shared(net: nn.Module) -> Tensor:
        """Weights of the last layer that presence, box and angle share."""
        assert isinstance(net, DetectorNet)
        return net.tower[2].weight  # type: ignore[return-value]

    def validate(self, raw: Tensor, batch: Batch) -> list[Any]:
        """Per picture: IoU and direction error of each infant's best detection, and how many were found."""
        maps = DetectorNet.activate(raw.float()).cpu().numpy()
        results = []
        for one, boxes, angles in zip(maps, batch["boxes"], batch["angles"], strict=True):
            found = [(box, angle) for box, angle, _ in detection_codec.decode(one, detection_codec.THRESHOLD)]
            results.append((answers(found, boxes, angles), len(found)))
        return results

    def metrics(self, results: list[Any]) -> dict[str, Any]:
        """Recall at IoU 0.5, false alarms on empty cots, box overlap, head-direction error."""
        matched: list[Answer] = [one for infants, _ in results for one in infants]
        empties = [count > 0 for infants, count in results if not infants]
        turns = np.array([one.turn_deg for one in matched if one.turn_deg is not None])
        overlaps = np.array([one.overlap for one in matched])
        return {
            "recall@0.5": mean_of(np.array([one.found for one in matched])),
            "recall@0.75": mean_of(overlaps >= 0.75),
            "mean IoU": mean_of(overlaps),
            "false alarms": mean_of(np.array(empties)),
            "head median deg": float(np.median(turns)) if turns.size else None,
            "head >20 deg": mean_of(turns > 20.0),
            "head >90 deg": mean_of(turns > 90.0),
            "infants": len(matched),
            "empties": len(empties),
        }

    def score(self, metrics: dict[str, Any]) -> float | None:
        """Finding every infant comes first, then raising no false alarm, then box and direction."""
        if metrics["recall@0.5"] is None:
            return None
        alarms, turned = metrics["false alarms"], metrics["head >20 deg"]
        return 100.0 * (
            metrics["recall@0.5"]
            + 0.5 * metrics["mean IoU"]
            - 0.5 * (0.0 if alarms is None else alarms)
            - 0.5 * (1.0 if turned is None else turned)
        )

    def meta(self, net: nn.Module, **extra: Any) -> dict[str, Any]:
        assert isinstance(net, DetectorNet)
        return detector_meta(net, **extra)
