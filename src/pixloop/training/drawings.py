"""Figures for TensorBoard."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from pixloop.training.detector import Example
from pixloop.training.loaders import Target

_COLUMNS = 4
_SHOWN_PICTURES = 16
_SHOWN_COUNTS = 20  # beyond so many classes the matrix's numbers cannot be read
_SHOWN_SCORE = 0.3  # less sure boxes would cover the picture
_TRUE_COLOUR, _FOUND_COLOUR = "#00c853", "#ff6d00"


def draw_confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """A confusion matrix, shape (K, K), rows true and columns predicted; colours are row shares."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix / matrix.sum(axis=1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= _SHOWN_COUNTS:
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), classes)
        for (row, column), count in np.ndenumerate(matrix):
            dark = count > matrix[row].sum() / 2
            axes.text(column, row, str(count), ha="center", va="center", color="w" if dark else "k")
    return figure


def draw_batch(pictures: Tensor, labels: Tensor, classes: Sequence[str]) -> Figure:
    """The first pictures of a training batch, as the network sees them, under their labels."""
    figure, grid = _picture_grid(list(pictures))
    for axes, label in zip(grid, labels.tolist(), strict=False):
        axes.set_title(classes[label], fontsize=8)
    return figure


def draw_box_batch(pictures: Tensor, targets: Sequence[Target], classes: Sequence[str]) -> Figure:
    """The first pictures of a training batch, as the network sees them, with their boxes."""
    figure, grid = _picture_grid(list(pictures))
    for axes, target in zip(grid, targets, strict=False):
        _draw_boxes(axes, target, classes, _TRUE_COLOUR)
    return figure


def draw_examples(examples: Sequence[Example], classes: Sequence[str]) -> Figure:
    """Validation pictures: what is in them (green), and what was found (orange, with scores)."""
    figure, grid = _picture_grid([example.picture for example in examples])
    for axes, example in zip(grid, examples, strict=False):
        shown = example.found["scores"] >= _SHOWN_SCORE
        found = {name: value[shown] for name, value in example.found.items()}
        _draw_boxes(axes, example.truth, classes, _TRUE_COLOUR)
        _draw_boxes(axes, found, classes, _FOUND_COLOUR)
    return figure


def _picture_grid(pictures: Sequence[Tensor]) -> tuple[Figure, NDArray[Any]]:
    """The first pictures, uint8 (size, size, 3), and the axes that each of them has."""
    figure = Figure(figsize=(8, 8), layout="constrained")
    grid = figure.subplots(_SHOWN_PICTURES // _COLUMNS, _COLUMNS).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, picture in zip(grid, pictures, strict=False):
        axes.imshow(picture.cpu().numpy())
    return figure, grid


def _draw_boxes(axes: Any, target: Target, classes: Sequence[str], colour: str) -> None:
    boxes, labels = target["boxes"].tolist(), target["labels"].tolist()
    scores = target["scores"].tolist() if "scores" in target else [None] * len(labels)
    for (left, top, right, bottom), label, score in zip(boxes, labels, scores, strict=True):
        corner, width, height = (left, top), right - left, bottom - top
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour))
        if score is None:
            axes.text(left, top, classes[label - 1], fontsize=5, color=colour, va="bottom")
        else:
            text = f"{classes[label - 1]} {score:.2f}"
            axes.text(left, bottom, text, fontsize=5, color=colour, va="top")
