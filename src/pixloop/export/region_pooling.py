"""The features of regions, each taken from the level of the pyramid that suits its size.

``torchvision.ops.MultiScaleRoIAlign`` for a batch, and as one operation: how many regions a level
has depends on the data, but how many there are in all does not.
"""

from collections.abc import Sequence
from typing import Any

import torch
from onnxscript.onnx_types import FLOAT, INT64
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign, roi_align

from pixloop.export.box_arithmetic import pyramid
from pixloop.export.suppression import is_traced, op


class RegionPooling(nn.Module):
    """Regions to features, level by level.

    They come out in the order of their levels. As the network behind looks at each region alone,
    only its few answers need to be put back in order, not the features.
    """

    def __init__(self, pool: MultiScaleRoIAlign, backbone: nn.Module, image_size: int) -> None:
        super().__init__()
        whole = torch.tensor([[0.0, 0.0, image_size, image_size]])
        with torch.no_grad():
            features = pyramid(backbone, torch.zeros(1, 3, image_size, image_size))
            pool(features, [whole], [(image_size, image_size)])  # finds out the levels' scales
        self.side, self.sampling_ratio = pool.output_size[0], pool.sampling_ratio
        self.mapper = pool.map_levels
        # No region is of a level beyond these: both of MobileNet's are of the same scale.
        used = self.mapper.k_max - self.mapper.k_min + 1
        self.names = [name for name in features if name in pool.featmap_names][:used]
        self.scales = pool.scales[:used]

    def forward(self, features: dict[str, Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Pool the regions of all pictures.

        Args:
            features: the pyramid, float32 (N, C, H, W) each.
            boxes: float32 (N, P, 4) xyxy in pixels of the input.

        Returns:
            features float32 (N · P, C, side, side), and the place of each among the N · P boxes,
            int64 (N · P,).
        """
        picture = torch.arange(boxes.shape[0]).to(boxes.dtype).view(-1, 1, 1)
        regions = torch.cat([picture.expand(-1, boxes.shape[1], 1), boxes], 2).flatten(0, 1)
        # TorchScript has no custom operations, but shapes may be what they like there.
        pool = _pool_by_level if is_traced() else _pool_regions
        pooled: tuple[Tensor, Tensor] = pool(
            [features[name] for name in self.names],
            regions,
            self._levels(boxes.flatten(0, 1)),
            self.scales,
            self.side,
            self.sampling_ratio,
        )
        return pooled

    def _levels(self, boxes: Tensor) -> Tensor:
        """Which level a box belongs to, counted from 0, by eq. 1 of Lin et al. 2017."""
        mapper = self.mapper
        side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
        # A place without a proposal may hold a box without area, which has no logarithm.
        level = mapper.lvl0 + torch.log2(side.clamp(min=1e-6) / mapper.s0) + mapper.eps
        counted: Tensor = level.floor().clamp(mapper.k_min, mapper.k_max).long() - mapper.k_min
        return counted


def _pool_by_level(
    features: Sequence[Tensor],
    regions: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    side: int,
    sampling_ratio: int,
) -> tuple[Tensor, Tensor]:
    members = [torch.where(levels == level)[0] for level in range(len(features))]
    pooled = [
        roi_align(feature, regions[rows], side, scale, sampling_ratio)
        for feature, rows, scale in zip(features, members, scales, strict=True)
    ]
    return torch.cat(pooled), torch.cat(members)


@torch.library.custom_op("pixloop::pool_regions", mutates_args=())
def _pool_regions(
    features: Sequence[Tensor],
    regions: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    side: int,
    sampling_ratio: int,
) -> tuple[Tensor, Tensor]:
    return _pool_by_level(features, regions, levels, scales, side, sampling_ratio)


@_pool_regions.register_fake
def _(
    features: Sequence[Tensor],
    regions: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    side: int,
    sampling_ratio: int,
) -> tuple[Tensor, Tensor]:
    pooled = features[0].new_empty(regions.shape[0], features[0].shape[1], side, side)
    return pooled, torch.empty_like(levels)


def _pool_regions_in_onnx(
    features: Sequence[FLOAT],
    regions: FLOAT,
    levels: INT64,
    scales: Sequence[float],
    side: int,
    sampling_ratio: int,
) -> tuple[FLOAT, INT64]:
    first, last = op.Constant(value_ints=[1]), op.Constant(value_ints=[5])
    boxes = op.Slice(regions, first, last, op.Constant(value_ints=[1]))
    pictures = op.Cast(op.Gather(regions, op.Constant(value_int=0), axis=1), to=INT64.dtype)
    members, pooled = [], []
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        of_level = op.Equal(levels, op.Constant(value_int=level))
        rows = op.Reshape(op.NonZero(of_level), op.Constant(value_ints=[-1]))
        members.append(rows)
        pooled.append(
            op.RoiAlign(
                feature,
                op.Gather(boxes, rows),
                op.Gather(pictures, rows),
                coordinate_transformation_mode="output_half_pixel",
                output_height=side,
                output_width=side,
                sampling_ratio=sampling_ratio,
                spatial_scale=scale,
            )
        )
    if len(members) == 1:
        return pooled[0], members[0]
    return op.Concat(*pooled, axis=0), op.Concat(*members, axis=0)


#: What ``torch.onnx.export`` writes for it.
TRANSLATIONS: dict[Any, Any] = {torch.ops.pixloop.pool_regions.default: _pool_regions_in_onnx}
