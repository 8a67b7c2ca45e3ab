"""fastai: ``vision_learner`` with a network of timm's, and ``fine_tune``.

Sources of the settings, all of fastai's documentation, tutorial "Computer vision intro":

- ``documented``: ``item_tfms=Resize(224)``, batches of 64, ``vision_learner(dls, arch)``,
  ``fine_tune(1)``: one epoch of the head alone, then the epochs that are asked for, at a rate of
  1e-3 for the head and a hundredth of that for the first layers, one-cycle; Adam; the head is
  fastai's own (two layers, dropout 0.5 and 0.25), and batch normalisation learns from the start.
- ``augmented``: the tutorial's second example, with ``batch_tfms=aug_transforms(size=224)`` and
  ``fine_tune(2, 3e-3)``. It enlarges to 460 px first, which pictures of 150 px do not need: here
  they are squashed to the size.

- ``short``: the pages "Channels Last" and "Learner": channels-last, and ``train_bn=False``, with
  which the epoch of the head alone computes no gradients of what is before it; squashed, mirrored;
  ``fine_tune(..., 3e-3)``. fastai's mixed precision asks for CUDA, so float32 stays.

fastai loads with a process a core by default. A name of timm's and its weights from a file:
``vision_learner`` hands further arguments on to ``timm.create_model``.
"""

from pathlib import Path
from typing import Any

import torch
from curve import ARCHITECTURE, Curve, accuracy, options
from fastai.vision.all import (
    Callback,
    FlipItem,
    ImageDataLoaders,
    Resize,
    ResizeMethod,
    aug_transforms,
    get_image_files,
    set_seed,
    vision_learner,
)
from fastai.vision.all import (
    accuracy as validation_accuracy,
)

RECIPES = {"documented": 2e-3, "augmented": 3e-3, "short": 3e-3}


class Watch(Callback):  # type: ignore[misc]  # fastai is Any to mypy
    """Looks at the test pictures in the middle and at the end of each epoch."""

    order = 90

    def __init__(self, curve: Curve, files: list[Path]) -> None:
        self.curve, self.files = curve, files
        self.batches: list[tuple[torch.Tensor, torch.Tensor]] = []

    def after_batch(self) -> None:
        if self.training:
            self.curve.step(self.n_iter, self.look)

    def look(self) -> float:
        """Test accuracy; by now the learner has added its normalisation to the loaders."""
        if not self.batches:
            loader = self.dls.test_dl(self.files, with_labels=True, num_workers=0)
            self.batches = [(torch.Tensor(x), torch.Tensor(y).long()) for x, y in loader]
        return accuracy(self.model, self.batches)


def loaders(a: Any) -> ImageDataLoaders:
    """Of the training and validation pictures."""
    resize = Resize(a.size) if a.recipe == "documented" else Resize(a.size, ResizeMethod.Squish)
    return ImageDataLoaders.from_folder(
        a.folder,
        train="train",
        valid="validation",
        item_tfms=[resize, FlipItem()] if a.recipe == "short" else resize,
        batch_tfms=aug_transforms(size=a.size) if a.recipe == "augmented" else None,
        num_workers=a.workers,
        device="cpu",
    )


def main() -> None:
    a = options(__doc__, RECIPES)
    set_seed(42)
    curve = Curve(a, "fastai")
    data = loaders(a)
    watch = Watch(curve, get_image_files(a.folder / "test"))
    curve.start()
    learner = vision_learner(
        data,
        ARCHITECTURE,
        metrics=validation_accuracy,
        path=a.work,
        cbs=watch,
        train_bn=a.recipe != "short",
        pretrained_cfg_overlay={"file": str(a.weights)},
    )
    if a.recipe == "short":
        learner.to_channelslast(use_amp=False)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(a.epochs, RECIPES[a.recipe])


if __name__ == "__main__":
    main()
