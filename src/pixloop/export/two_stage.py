"""Faster R-CNN, batched and of fixed shape."""

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import RegionProposalNetwork

from pixloop.export.box_arithmetic import (
    Found,
    anchors_by_level,
    at_least,
    concatenate,
    decode,
    pyramid,
    suppress_by_class,
    take,
)
from pixloop.export.region_pooling import RegionPooling
from pixloop.export.suppression import ABSENT, keep_mask

#: Boxes with a shorter side, in pixels, are left out, as torchvision does at its end.
_LEAST_SIDE = 1e-2


class FasterRcnnGraph(nn.Module):
    """Faster R-CNN (Ren et al. 2015) with a feature pyramid."""

    def __init__(self, network: FasterRCNN, image_size: int) -> None:
        super().__init__()
        self.network, self.image_size = network, image_size
        levels = anchors_by_level(network.backbone, network.rpn.anchor_generator, image_size)
        self.propose = Proposals(network.rpn, levels, image_size)
        self.pool = RegionPooling(network.roi_heads.box_roi_pool, network.backbone, image_size)

    def forward(self, images: Tensor) -> Found:
        """``Found`` of ``images``, float32 (N, 3, size, size)."""
        heads = self.network.roi_heads
        features = pyramid(self.network.backbone, images)
        proposals, present = self.propose(list(features.values()))
        regions, order = self.pool(features, proposals)
        logits, codes = heads.box_predictor(heads.box_head(regions))
        shape = (-1, proposals.shape[1])  # pictures and their regions
        logits = torch.unflatten(_put_back(logits, order), 0, shape)
        codes = torch.unflatten(_put_back(codes, order), 0, shape)
        codes = torch.unflatten(codes, 2, (-1, 4))
        boxes = decode(heads.box_coder, codes, proposals.unsqueeze(2), self.image_size)
        # Class 0 is the background.
        boxes = boxes[:, :, 1:].transpose(1, 2)
        scores = logits.softmax(-1)[..., 1:].transpose(1, 2)
        counts = present.unsqueeze(1) & (scores > heads.score_thresh) & at_least(boxes, _LEAST_SIDE)
        scores = torch.where(counts, scores, ABSENT)
        return suppress_by_class(boxes, scores, heads.nms_thresh, heads.detections_per_img)


class Proposals(nn.Module):
    """Where objects may be: the surest boxes of each level, suppressed among themselves."""

    def __init__(self, rpn: RegionProposalNetwork, levels: list[Tensor], image_size: int) -> None:
        super().__init__()
        self.rpn, self.image_size = rpn, image_size
        self.anchors = nn.ParameterList(nn.Parameter(level, False) for level in levels)
        self.each = [min(rpn._pre_nms_top_n["testing"], len(level)) for level in levels]
        self.most = min(rpn._post_nms_top_n["testing"], sum(self.each))

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """From the pyramid: boxes float32 (N, P, 4), and which of them there are, bool (N, P)."""
        levels = zip(*self.rpn.head(features), self.anchors, self.each, strict=True)
        boxes, scores = concatenate([self._surest(*level) for level in levels])
        scores, order = scores.topk(self.most, 1)
        return take(boxes, order), scores != ABSENT

    def _surest(
        self, logits: Tensor, codes: Tensor, anchors: Tensor, most: int
    ) -> tuple[Tensor, Tensor]:
        # (N, A, H, W) and (N, 4 A, H, W) → (N, H W A) and (N, H W A, 4)
        logits = logits.permute(0, 2, 3, 1).flatten(1)
        codes = torch.unflatten(codes.permute(0, 2, 3, 1).flatten(1), 1, (-1, 4))
        logits, order = logits.topk(most, 1)
        scores = logits.sigmoid()
        boxes = decode(self.rpn.box_coder, take(codes, order), anchors[order], self.image_size)
        counts = at_least(boxes, self.rpn.min_size) & (scores >= self.rpn.score_thresh)
        scores = torch.where(counts, scores, ABSENT)
        return boxes, torch.where(keep_mask(boxes, scores, self.rpn.nms_thresh), scores, ABSENT)


def _put_back(rows: Tensor, order: Tensor) -> Tensor:
    return torch.zeros_like(rows).index_copy(0, order, rows)
