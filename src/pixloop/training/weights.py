"""Where a network's first weights come from: a file, the Hugging Face hub, or chance."""

import os
from pathlib import Path
from typing import Any

import httpx
import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pixloop.errors import TrainingError

_PROBE_S = 3.0
_NAMED_KEYS = 3


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors, .pt or .pth file's tensors by name, without running anything in it.

    Raises:
        TrainingError: the file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise TrainingError(f"model.weights: there is no file {path}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as e:
        raise TrainingError(f"model.weights: {path} is not a safetensors file: {e}") from e
    except Exception as e:  # torch.load raises whatever the zip and pickle readers meet
        raise TrainingError(
            f"model.weights: {path} cannot be read as plain tensors. Save the network's"
            f" state_dict() alone, best as .safetensors. ({str(e).splitlines()[0]})"
        ) from e
    return _only_tensors(content, path)


def load_weights(name: str, path: Path, num_classes: int, options: dict[str, Any]) -> nn.Module:
    """A timm model with the weights of a file; a classifier of other classes is made anew.

    Args:
        name: the timm model.
        path: the file, with timm's names for the tensors.
        num_classes: of the network that is returned.
        options: further arguments for ``timm.create_model``.

    Raises:
        TrainingError: the file belongs to another network; the message names missing tensors.
    """
    tensors = read_weights(path)
    empty: nn.Module = timm.create_model(name, num_classes=num_classes, **options)
    heads = _classifier_names(empty)
    missing = [
        key
        for key in empty.state_dict()
        if key not in tensors and not key.startswith(tuple(f"{head}." for head in heads))
    ]
    if missing:
        raise TrainingError(
            f"model.weights: {path} does not hold the weights of {name}: {len(missing)} tensors"
            f" are missing, such as {', '.join(missing[:_NAMED_KEYS])}; it has"
            f" {', '.join(sorted(tensors)[:_NAMED_KEYS])}. Set model.name to the network they"
            " belong to."
        )
    classes = _classes_of(tensors, heads)
    options = options | {"pretrained_cfg_overlay": {"state_dict": tensors, "num_classes": classes}}
    try:
        # timm drops a classifier of another size, and resizes a transformer's positions.
        network: nn.Module = timm.create_model(
            name, pretrained=True, num_classes=num_classes, **options
        )
    except RuntimeError as e:
        raise TrainingError(
            f"model.weights: {path} does not fit {name}: {' '.join(str(e).split())[:300]}"
        ) from e
    return network


def find_published(name: str) -> Path | None:
    """The file of a model's published weights in the local cache of the hub, if it is there."""
    repository = getattr(timm.get_pretrained_cfg(name, allow_unregistered=True), "hf_hub_id", None)
    if not repository:
        return None
    found = try_to_load_from_cache(repository, "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def hub_reachable() -> bool:
    """Whether the Hugging Face hub answers, asked once and briefly.

    The hub's own client tries for most of a minute. HF_HUB_OFFLINE is a no.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(os.environ.get("HF_ENDPOINT", constants.ENDPOINT), timeout=_PROBE_S)
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return False
    return True


def _only_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise TrainingError(f"model.weights: {path} is not a state_dict (names and tensors).")
    # What DataParallel puts before every name.
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _classifier_names(network: nn.Module) -> tuple[str, ...]:
    names = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _classes_of(tensors: dict[str, Tensor], heads: tuple[str, ...]) -> int:
    """How many classes the file's classifier has; 0 where it has none."""
    for head in heads:
        if f"{head}.weight" in tensors:
            return int(tensors[f"{head}.weight"].shape[0])
    return 0
