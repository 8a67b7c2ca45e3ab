"""No peer, but what one writes oneself: timm's frozen features and scikit-learn's regression.

``frozen``: the page "Feature Extraction" of timm's documentation (``forward_features``, then
``forward_head(pre_logits=True)``), channels-last and bfloat16, on pictures squashed to the size; a
standardised ``LogisticRegression``, whose strength the validation pictures choose.
"""

from typing import Any

import numpy as np
import timm
import torch
from curve import ARCHITECTURE, Curve, options
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

RECIPES = ("frozen",)
BATCH = 64
STRENGTHS = (0.001, 0.01, 0.1, 1.0)

Seen = tuple[NDArray[np.float32], NDArray[np.int64]]


def loader(a: Any, split: str, config: dict[str, Any]) -> DataLoader[Any]:
    """Pictures float32 (N, 3, size, size) and labels, in order."""
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((a.size, a.size)),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(config["mean"], config["std"]),
        ]
    )
    return DataLoader(ImageFolder(a.folder / split, transform), BATCH, num_workers=a.workers)


@torch.inference_mode()
def see(network: Any, batches: Any) -> Seen:
    """Features, float32 (N, D), and labels (N,)."""
    features, labels = [], []
    for pictures, targets in batches:
        with torch.autocast("cpu", torch.bfloat16):
            maps = network.forward_features(pictures.contiguous(memory_format=torch.channels_last))
            features.append(network.forward_head(maps, pre_logits=True).float().numpy())
        labels.append(targets.numpy())
    return np.concatenate(features), np.concatenate(labels)


def main() -> None:
    a = options(__doc__, RECIPES)
    curve = Curve(a, "scikit-learn")
    config = timm.data.resolve_data_config({}, model=timm.create_model(ARCHITECTURE))
    curve.start()
    network = timm.create_model(
        ARCHITECTURE, pretrained=True, pretrained_cfg_overlay={"file": str(a.weights)}
    )
    network = network.eval().to(memory_format=torch.channels_last)
    train, validation = (see(network, loader(a, s, config)) for s in ("train", "validation"))
    fitted = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(*train)
        for c in STRENGTHS
    ]
    best = max(fitted, key=lambda model: float(model.score(*validation)))
    curve.look(lambda: float(best.score(*see(network, loader(a, "test", config)))))


if __name__ == "__main__":
    main()
