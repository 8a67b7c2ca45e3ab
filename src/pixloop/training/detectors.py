"""Detection networks: torchvision's, and smaller ones put together from its parts.

Each builder takes the number of classes, background included, and gives a network that takes
prepared pictures as they are::

    network.eval()(pictures)             → a dict a picture: boxes (M, 4) xyxy in pixels of the
                                           input, scores (M,), labels (M,) from 1 on
    network.train()(pictures, targets)   → a dict of losses

``pictures`` is float32 (N, 3, size, size), normalised, or a list of N; size is a multiple of 32.
``targets`` is a dict a picture: boxes float32 (M, 4), labels int64 (M,) from 1 on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import Conv2dNormActivation, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from pixloop.imaging import IMAGENET_MEAN, IMAGENET_STD

Targets = list[dict[str, Tensor]]
Builder = Callable[[int], nn.Module]

#: How the names of a backbone's tensors begin, the pyramid's not included.
BACKBONE = ("backbone.body.", "backbone.features.")

#: Boxes that are less sure are noise; COCO's average precision counts a hundred a picture.
_LEAST_SCORE, _MOST_BOXES = 0.02, 100
_ASPECTS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class DetectorFamily:
    """One detection network: how it is built, and what it can start from.

    Attributes:
        description: what it is and what it is good for, in a line.
        build: from the number of classes, background included, to a network with random weights.
        backbone: the torchvision classifier that its backbone was cut from.
        backbone_url: of that classifier's weights, trained on ImageNet.
        coco_url: of the whole detector's weights, trained on COCO; None where none are published.
        zero_epsilon: whether those were trained with an epsilon of zero in batch normalisation.
        mean: of RGB in 0..1, that its weights were trained with.
        std: likewise.
    """

    description: str
    build: Builder
    backbone: str
    backbone_url: str
    coco_url: str | None = None
    zero_epsilon: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class PreparedPictures(nn.Module):
    """Stands where torchvision resizes, normalises and pads: the pictures come prepared."""

    def forward(
        self, pictures: Tensor | Sequence[Tensor], targets: Targets | None = None
    ) -> tuple[ImageList, Targets | None]:
        """One batch of the pictures, as they are."""
        batch = pictures if isinstance(pictures, Tensor) else torch.stack(list(pictures))
        height, width = batch.shape[-2:]
        return ImageList(batch, [(height, width)] * batch.shape[0]), targets

    def postprocess(
        self, result: Targets, image_shapes: object, original_image_sizes: object
    ) -> Targets:
        """The boxes stay in pixels of the input. RetinaNet would name some of them background."""
        return [
            {key: value[found["labels"] > 0] for key, value in found.items()} for found in result
        ]


def torchvision_detector(name: str, **options: int) -> Builder:
    """A builder of torchvision's detector ``name``, with its ``options``, every layer trainable."""
    is_rcnn = name.startswith("fasterrcnn")
    prefix = "box_" if is_rcnn else ""
    settings = {f"{prefix}score_thresh": _LEAST_SCORE, f"{prefix}detections_per_img": _MOST_BOXES}
    settings |= options

    def build(num_classes: int) -> nn.Module:
        network: nn.Module = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=num_classes, **settings
        )
        return _prepared(network)

    return build


def fasterrcnn_mobilenet_v2_fpn(
    num_classes: int,
    *,
    channels: int = 128,
    representation: int = 512,
    rois: int = 128,
    anchor_sizes: Sequence[int] = (24, 48, 96, 192),
    width: float = 1.0,
) -> nn.Module:
    """Faster R-CNN (Ren et al. 2015) on MobileNetV2 at strides 8, 16 and 32, for small machines.

    Args:
        num_classes: background included.
        channels: of the feature pyramid.
        representation: features of a region of interest.
        rois: regions of a picture that a training step looks at.
        anchor_sizes: sides, in pixels of the input, of the anchors at strides 8, 16, 32 and 64.
        width: of MobileNetV2, as a share of its usual channels.
    """
    return _prepared(
        FasterRCNN(
            _mobilenet_v2_fpn(channels, width, last=18),
            rpn_anchor_generator=_anchors([(size,) for size in anchor_sizes]),
            box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], output_size=7, sampling_ratio=2),
            box_head=TwoMLPHead(channels * 7 * 7, representation),
            box_predictor=FastRCNNPredictor(representation, num_classes),
            box_batch_size_per_image=rois,
            rpn_pre_nms_top_n_train=1000,
            rpn_post_nms_top_n_train=500,
            rpn_pre_nms_top_n_test=500,
            rpn_post_nms_top_n_test=200,
            box_score_thresh=_LEAST_SCORE,
            box_detections_per_img=_MOST_BOXES,
        )
    )


def retinanet_mobilenet_v2_fpn(
    num_classes: int,
    *,
    channels: int = 64,
    convolutions: int = 2,
    anchor_sizes: Sequence[int] = (20, 40, 80, 160),
    width: float = 1.0,
) -> nn.Module:
    """RetinaNet (Lin et al. 2017) on MobileNetV2 with a narrow pyramid and shallow heads.

    Args:
        num_classes: background included.
        channels: of the feature pyramid.
        convolutions: of each head, before the one that answers.
        anchor_sizes: sides, in pixels of the input, of the smallest anchors at strides 8, 16, 32
            and 64; there are two more in each octave.
        width: of MobileNetV2, as a share of its usual channels.
    """
    anchors = _anchors([[round(size * 2 ** (i / 3)) for i in range(3)] for size in anchor_sizes])
    norm = partial(nn.GroupNorm, 8)
    head = RetinaNetHead(
        channels, anchors.num_anchors_per_location()[0], num_classes, norm_layer=norm
    )
    for part in (head.classification_head, head.regression_head):
        part.conv = nn.Sequential(
            *(
                Conv2dNormActivation(channels, channels, norm_layer=norm)
                for _ in range(convolutions)
            )
        )
    head.regression_head._loss_type = "giou"  # needs no weight beside the focal loss
    return _prepared(
        RetinaNet(
            _mobilenet_v2_fpn(channels, width, last=17),
            num_classes,
            anchor_generator=anchors,
            head=head,
            score_thresh=_LEAST_SCORE,
            detections_per_img=_MOST_BOXES,
            topk_candidates=300,
        )
    )


def _mobilenet_v2_fpn(channels: int, width: float, last: int) -> BackboneWithFPN:
    """Features at strides 8, 16 and 32, and the last of them pooled once more.

    Args:
        channels: of each of them.
        width: of MobileNetV2, as a share of its usual channels.
        last: the layer at stride 32: 17, or 18 with the convolution that widens it fourfold.
    """
    layers = torchvision.models.mobilenet_v2(width_mult=width).features
    taken = {"6": "0", "13": "1", str(last): "2"}
    inner = [layers[int(layer)].out_channels for layer in taken]
    return BackboneWithFPN(layers, taken, inner, channels, LastLevelMaxPool())


def _anchors(sizes: Sequence[Sequence[int]]) -> AnchorGenerator:
    return AnchorGenerator(tuple(map(tuple, sizes)), (_ASPECTS,) * len(sizes))


def _prepared(network: nn.Module) -> nn.Module:
    network.transform = PreparedPictures()
    return network
