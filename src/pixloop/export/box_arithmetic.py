"""What the graphs of all detectors compute alike, for a batch of pictures at once."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList

from pixloop.export.suppression import ABSENT, keep_mask

#: Boxes float32 (N, D, 4) xyxy in pixels of the input, scores float32 (N, D), labels int64 (N, D).
Found = tuple[Tensor, Tensor, Tensor]


def pyramid(backbone: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The backbone's features, each float32 (N, C, H, W), the finest first."""
    features = backbone(images)
    return {"0": features} if isinstance(features, Tensor) else dict(features)


def anchors_by_level(backbone: nn.Module, generator: nn.Module, image_size: int) -> list[Tensor]:
    """The anchors of each level of the pyramid, float32 (A, 4); constants for an input size."""
    images = torch.zeros(1, 3, image_size, image_size)
    with torch.no_grad():
        features = list(pyramid(backbone, images).values())
        (anchors,) = generator(ImageList(images, [(image_size, image_size)]), features)
    per_location: Sequence[int] = cast(Any, generator).num_anchors_per_location()
    counts = [
        feature.shape[-2] * feature.shape[-1] * each
        for feature, each in zip(features, per_location, strict=True)
    ]
    return list(anchors.split(counts))


def take(values: Tensor, index: Tensor) -> Tensor:
    """From float32 (N, M, 4), the places ``index`` int64 (N, D) of each picture: (N, D, 4)."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))


def decode(coder: BoxCoder, codes: Tensor, boxes: Tensor, image_size: int) -> Tensor:
    """Boxes from what a network says of them, clipped to the input.

    Args:
        coder: weights and bounds of the codes (Girshick et al. 2014, appendix C).
        codes: float32 (..., 4): shifts of the centre, logarithms of the scales.
        boxes: what they refer to, float32 xyxy, of a shape that can be spread to that of the codes.
        image_size: side of the input, in pixels.
    """
    x_weight, y_weight, width_weight, height_weight = coder.weights
    x1, y1, x2, y2 = boxes.unbind(-1)
    x_shift, y_shift, width_scale, height_scale = codes.unbind(-1)
    width, height = x2 - x1, y2 - y1
    x = x_shift / x_weight * width + (x1 + 0.5 * width)
    y = y_shift / y_weight * height + (y1 + 0.5 * height)
    limit = coder.bbox_xform_clip
    half_width = 0.5 * ((width_scale / width_weight).clamp(max=limit).exp() * width)
    half_height = 0.5 * ((height_scale / height_weight).clamp(max=limit).exp() * height)
    edges = (x - half_width, y - half_height, x + half_width, y + half_height)
    return torch.stack(edges, -1).clamp(0, image_size)


def at_least(boxes: Tensor, side: float) -> Tensor:
    """Which of the boxes (..., 4) are at least ``side`` pixels wide and high, bool (...)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides[..., 0] >= side) & (sides[..., 1] >= side)


def suppress_by_class(boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Found:
    """The surest boxes of each picture that survive suppression among those of their class.

    Every class is a row of its own: no offset keeps the classes apart, so nothing is rounded.

    Args:
        boxes: float32 (N, K, M, 4).
        scores: float32 (N, K, M), greater than 0, or ``ABSENT``.
        iou_threshold: of the suppression.
        most: how many places there are in the answer; fewer where K · M is less.

    Returns:
        ``Found``, by falling score; places without a box have box, score and label 0.
    """
    classes, each = scores.shape[1:]
    kept = keep_mask(boxes.flatten(0, 1), scores.flatten(0, 1), iou_threshold)
    scores = torch.where(torch.unflatten(kept, 0, (-1, classes)), scores, ABSENT).flatten(1)
    labels = torch.arange(classes).repeat_interleave(each).expand_as(scores)
    return surest(boxes.flatten(1, 2), scores, labels, min(most, classes * each))


def surest(boxes: Tensor, scores: Tensor, labels: Tensor, most: int) -> Found:
    """The ``most`` surest of each picture's boxes; what has no score above 0 becomes zeros."""
    scores, order = scores.topk(most, 1)
    found = scores > 0
    return (
        torch.where(found.unsqueeze(-1), take(boxes, order), 0.0),
        scores.clamp(min=0),
        torch.where(found, labels.gather(1, order), 0),
    )


def concatenate(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Several levels' tensors, each (N, M, ...), as one of each, along M."""
    return tuple(torch.cat(each, 1) for each in zip(*parts, strict=True))
