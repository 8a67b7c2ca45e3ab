"""Non-maximum suppression as one operation of fixed shape, which every graph format has.

torchvision's ``nms`` answers with as many indices as boxes survive, a picture at a time. Here rows
of boxes go in and a mask of the same shape comes out, so that whatever follows is plain batched
arithmetic. In eager mode and in TorchScript it is a loop over rows around torchvision's own; in
ONNX it is one NonMaxSuppression over all rows, which OpenVINO reads as its own.
"""

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset20
from onnxscript.onnx_types import BOOL, FLOAT
from torch import Tensor

#: onnxscript's types are too narrow to write one operator on another's answer.
op: Any = opset20

#: The score of a place that holds no box: such a place is never kept, and suppresses nothing.
ABSENT = -1.0
_PRESENT = -0.5  # scores of boxes are 0 or more, so whatever lies between tells them apart


def keep_mask(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes survive non-maximum suppression among those of their row.

    A box is suppressed where its intersection over union with a surer kept one is greater than
    ``iou_threshold``. Among equal scores the first is taken for the surer.

    Args:
        boxes: float32 (R, M, 4), xyxy. Only boxes of one row compete: a row is, say, one picture's
            boxes of one class.
        scores: float32 (R, M), 0 or more, or ``ABSENT`` where there is no box.
        iou_threshold: 0 to 1.

    Returns:
        bool (R, M).
    """
    if is_traced():  # TorchScript has no custom operations, but it has loops
        return _scripted_keep_by_row(boxes, scores, iou_threshold)
    kept: Tensor = _keep_mask(boxes, scores, iou_threshold)
    return kept


def is_traced() -> bool:
    """Whether a TorchScript graph is being written."""
    return bool(torch.jit.is_tracing())  # type: ignore[no-untyped-call, attr-defined]  # untyped


def _keep_by_row(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for row in range(scores.shape[0]):
        present = torch.where(scores[row] > -0.5)[0]
        best = torch.ops.torchvision.nms(boxes[row][present], scores[row][present], iou_threshold)
        kept[row, present[best]] = True
    return kept


_scripted_keep_by_row: Callable[[Tensor, Tensor, float], Tensor]
_scripted_keep_by_row = torch.jit.script_if_tracing(_keep_by_row)  # type: ignore[no-untyped-call]  # as above


@torch.library.custom_op("pixloop::keep_mask", mutates_args=())
def _keep_mask(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return _keep_by_row(boxes, scores, iou_threshold)


@_keep_mask.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def _keep_mask_in_onnx(boxes: FLOAT, scores: FLOAT, iou_threshold: float) -> BOOL:
    # As many as there are, by ONNX's largest number that OpenVINO takes too.
    most = op.Constant(value_int=2**31 - 1)
    chosen = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),
        most,
        op.Constant(value_float=iou_threshold),
        op.Constant(value_float=_PRESENT),
    )
    # Columns: row, class (0 for all), box.
    places = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
    ones = op.Expand(
        op.Constant(value_float=1.0),
        op.Shape(chosen, start=0, end=1),
    )
    none = op.Mul(scores, op.Constant(value_float=0.0))
    kept: BOOL = op.Greater(op.ScatterND(none, places, ones), op.Constant(value_float=0.5))
    return kept


#: What ``torch.onnx.export`` writes for it.
TRANSLATIONS: dict[Any, Any] = {torch.ops.pixloop.keep_mask.default: _keep_mask_in_onnx}
