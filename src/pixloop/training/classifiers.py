"""Classification networks: any of timm's, by name."""

import difflib
import logging
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from pixloop.config import ModelConfig
from pixloop.errors import TrainingError
from pixloop.imaging import Preprocessing
from pixloop.resampling import Interpolation
from pixloop.training.built_model import BuiltModel, normalisation_layers
from pixloop.training.weights import find_published, hub_reachable, load_weights

_log = logging.getLogger(__name__)


def build_classifier(config: ModelConfig, num_classes: int, weights: Path | None) -> BuiltModel:
    """Build a timm model for ``num_classes`` and give it its first weights.

    Args and errors are those of ``models.build_model``.
    """
    options = _options(config.name, config.image_size)
    if weights is not None:
        network = load_weights(config.name, weights, num_classes, options)
        origin, pretrained = f"file {weights.name}", True
    elif config.pretrained:
        network, origin, pretrained = _build_published(config.name, num_classes, options)
    else:
        network = _create(config.name, num_classes, options)
        origin, pretrained = "random initialisation", False
    _check_size(network, config)
    return BuiltModel(
        network.train(),
        _preprocessing(network, config),
        origin,
        pretrained,
        frozenset(normalisation_layers(network) if pretrained else ()),
    )


def create_classifier(name: str, num_classes: int, image_size: int) -> nn.Module:
    """A timm model with random weights.

    Raises:
        TrainingError: there is no such model, or it cannot be built.
    """
    return _create(name, num_classes, _options(name, image_size))


def check_classifier(name: str) -> None:
    """See that timm has the model ``name``.

    Raises:
        TrainingError: it has not; the message has the nearest.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them."
        raise TrainingError(f"model.name: timm has no model {name!r}. {hint}")


def _options(name: str, image_size: int) -> dict[str, Any]:
    """What ``timm.create_model`` must be told for a network of fixed input size."""
    check_classifier(name)
    published = timm.get_pretrained_cfg(name, allow_unregistered=True)
    fixed = getattr(published, "fixed_input_size", False)
    return {"img_size": image_size} if fixed else {}


def _create(name: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    try:
        network: nn.Module = timm.create_model(name, num_classes=num_classes, **options)
    except Exception as e:  # every family checks its own sizes in its own way
        raise TrainingError(f"model.name: {name} cannot be built with {options}: {e}") from e
    return network


def _build_published(
    name: str, num_classes: int, options: dict[str, Any]
) -> tuple[nn.Module, str, bool]:
    """A network with its published weights, or by chance, with a warning, where there are none."""
    cached = find_published(name)
    if hub_reachable():
        try:
            network: Any = timm.create_model(
                name, pretrained=True, num_classes=num_classes, **options
            )
        except Exception as e:  # the hub's, the network's and timm's errors have no common root
            reason = " ".join(str(e).split())[:200]
        else:
            return network, f"hub {network.pretrained_cfg.get('hf_hub_id') or name}", True
    elif cached is not None:
        return load_weights(name, cached, num_classes, options), f"hub cache {name}", True
    else:
        reason = "the Hugging Face hub cannot be reached"
    _log.warning(
        f"No published weights for {name}: {reason}. Training starts from random weights, which"
        " needs more pictures and epochs. Set model.weights to a file to start from, or"
        " model.pretrained=false to mean it."
    )
    return _create(name, num_classes, options), f"random initialisation ({reason})", False


def _check_size(network: nn.Module, config: ModelConfig) -> None:
    size = config.image_size
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, size, size))
    except Exception as e:  # every family fails in its own way
        raise TrainingError(
            f"model.image_size: {config.name} cannot see pictures of {size} × {size} pixels:"
            f" {' '.join(str(e).split())[:200]}"
        ) from e


def _preprocessing(network: nn.Module, config: ModelConfig) -> Preprocessing:
    data = resolve_model_data_config(network)
    published: Interpolation = "bilinear" if data["interpolation"] == "bilinear" else "bicubic"
    return Preprocessing(
        image_size=config.image_size,
        resize=config.resize,
        crop_share=data["crop_pct"],
        interpolation=published if config.interpolation == "auto" else config.interpolation,
        scaled_decoding=config.scaled_decoding,
        mean=data["mean"],
        std=data["std"],
    )
