"""RetinaNet and SSD, batched and of fixed shape."""

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.ssd import SSD

from pixloop.export.box_arithmetic import (
    Found,
    anchors_by_level,
    concatenate,
    decode,
    pyramid,
    suppress_by_class,
    surest,
    take,
)
from pixloop.export.suppression import ABSENT


class RetinaNetGraph(nn.Module):
    """RetinaNet (Lin et al. 2017): of each level its surest boxes, then suppression by class."""

    def __init__(self, network: RetinaNet, image_size: int) -> None:
        super().__init__()
        self.network, self.image_size = network, image_size
        levels = anchors_by_level(network.backbone, network.anchor_generator, image_size)
        self.counts = [len(level) for level in levels]
        self.anchors = nn.ParameterList(nn.Parameter(level, False) for level in levels)
        classes = network.head.classification_head.num_classes
        each = [min(network.topk_candidates, count * classes) for count in self.counts]
        self.places = min(network.detections_per_img, classes * sum(each))

    def forward(self, images: Tensor) -> Found:
        """``Found`` of ``images``, float32 (N, 3, size, size)."""
        network = self.network
        answer = network.head(list(pyramid(network.backbone, images).values()))
        logits = answer["cls_logits"].split(self.counts, 1)
        codes = answer["bbox_regression"].split(self.counts, 1)
        levels = zip(logits, codes, self.anchors, strict=True)
        boxes, scores, labels = concatenate([self._surest(*level) for level in levels])
        classes = torch.arange(logits[0].shape[-1]).view(-1, 1)
        boxes, scores, labels = suppress_by_class(
            boxes.unsqueeze(1).expand(-1, classes.shape[0], -1, -1),
            torch.where(labels.unsqueeze(1) == classes, scores.unsqueeze(1), ABSENT),
            network.nms_thresh,
            network.detections_per_img,
        )
        # The first class is the background. No target ever names it, so it hardly ever has a
        # score, but where it has, torchvision lets it take places.
        scores = torch.where(labels > 0, scores, 0.0)
        return surest(boxes, scores, labels - 1, self.places)

    def _surest(self, logits: Tensor, codes: Tensor, anchors: Tensor) -> Found:
        classes, count = logits.shape[-1], anchors.shape[0] * logits.shape[-1]
        scores = logits.flatten(1).sigmoid()
        scores, order = scores.topk(min(self.network.topk_candidates, count), 1)
        place = order // classes
        boxes = decode(self.network.box_coder, take(codes, place), anchors[place], self.image_size)
        scores = torch.where(scores > self.network.score_thresh, scores, ABSENT)
        return boxes, scores, order % classes


class SsdGraph(nn.Module):
    """SSD (Liu et al. 2016) and SSDLite: of each class its surest boxes, then suppression."""

    def __init__(self, network: SSD, image_size: int) -> None:
        super().__init__()
        self.network, self.image_size = network, image_size
        levels = anchors_by_level(network.backbone, network.anchor_generator, image_size)
        self.anchors = nn.Parameter(torch.cat(levels), False)

    def forward(self, images: Tensor) -> Found:
        """``Found`` of ``images``, float32 (N, 3, size, size)."""
        network = self.network
        answer = network.head(list(pyramid(network.backbone, images).values()))
        boxes = decode(network.box_coder, answer["bbox_regression"], self.anchors, self.image_size)
        scores = answer["cls_logits"].softmax(-1)[..., 1:].transpose(1, 2)
        scores, order = scores.topk(min(network.topk_candidates, self.anchors.shape[0]), 2)
        return suppress_by_class(
            torch.unflatten(take(boxes, order.flatten(1)), 1, order.shape[1:]),
            torch.where(scores > network.score_thresh, scores, ABSENT),
            network.nms_thresh,
            network.detections_per_img,
        )
