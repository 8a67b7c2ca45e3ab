"""What a network that was never tuned on the pictures sees in them: computed once, and kept."""

from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

BACKBONE, SIDE, BATCH = "mobilenetv2_100", 161, 64
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def read_features(data: Path, weights: Path, kept: Path) -> dict[str, NDArray[np.generic]]:
    """``train`` and ``test``, float32 (N, 1280), and ``train_labels``, ``test_labels``, int64.

    Args:
        data: holds train/<class>/ and test/<class>/.
        weights: the backbone's, safetensors of timm.
        kept: a file; computed where it is missing.
    """
    if not kept.is_file():
        network = _backbone(weights)
        arrays: dict[str, NDArray[np.generic]] = {}
        for split in ("train", "test"):
            files = sorted((data / split).glob("*/*"))
            classes = sorted({file.parent.name for file in files})
            labels = [classes.index(file.parent.name) for file in files]
            arrays[split] = _see(network, files)
            arrays[f"{split}_labels"] = np.array(labels, np.int64)
        np.savez(kept, **arrays)
    with np.load(kept, allow_pickle=False) as file:
        return dict(file)


def see_files(weights: Path, files: list[Path]) -> NDArray[np.float32]:
    """What the network sees in picture files, float32 (N, 1280)."""
    return _see(_backbone(weights), files)


def _backbone(weights: Path) -> torch.nn.Module:
    network = timm.create_model(BACKBONE, pretrained=False)
    network.load_state_dict(load_file(weights))
    network.reset_classifier(0)
    return network.eval()


def _see(network: torch.nn.Module, files: list[Path]) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(files), BATCH):
        pictures = [
            np.asarray(Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.BILINEAR))
            for file in files[start : start + BATCH]
        ]
        pixels = (np.stack(pictures) / 255 - _MEAN) / _STD
        with torch.inference_mode():
            parts.append(network(torch.from_numpy(pixels).float().permute(0, 3, 1, 2)).numpy())
    return np.concatenate(parts)
