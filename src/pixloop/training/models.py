"""Networks: built by their timm name, saved and loaded with all that is needed to use them.

::

    model/
      weights.safetensors
      model.json              the timm name, classes, preprocessing and lineage; written last
"""

import difflib
import logging
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.data import resolve_model_data_config
from torch import nn

from pixloop.config import ModelConfig
from pixloop.errors import TrainingError
from pixloop.files import atomic_path, unpack, write_text
from pixloop.imaging import Preprocessing
from pixloop.training.weights import find_published, hub_reachable, load_weights

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
ARCHIVE = "model.tar.gz"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuiltModel:
    """A network that is ready to be trained.

    Attributes:
        network: float32 (N, 3, size, size) → logits (N, num_classes); in training mode.
        preprocessing: how a picture becomes its input.
        weights_origin: where its first weights come from, in words.
        pretrained: whether they were trained before.
    """

    network: nn.Module
    preprocessing: Preprocessing
    weights_origin: str
    pretrained: bool


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and what belongs to it.

    Attributes:
        network: float32 (N, 3, size, size) → logits (N, len(classes)).
        name: of the timm model.
        classes: in the order of the logits.
        preprocessing: how a picture becomes its input.
        lineage: where it comes from: data set, configuration, seed, versions.
    """

    network: nn.Module
    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    lineage: dict[str, Any] = field(default_factory=dict)


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    lineage: dict[str, Any]


def build_model(config: ModelConfig, num_classes: int, weights: Path | None) -> BuiltModel:
    """Build a timm model for ``num_classes`` and give it its first weights.

    Args:
        config: the model's name, size and origin.
        num_classes: how many logits it gives.
        weights: a file to start from, before anything published. ``config.weights`` is not read:
            whoever calls has found the file.

    Raises:
        TrainingError: there is no such model, the file does not fit it, or it cannot see pictures
            of ``config.image_size``.
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
    return BuiltModel(network.train(), _preprocessing(network, config), origin, pretrained)


def save_model(folder: Path, model: TrainedModel) -> None:
    """Write a trained model into ``folder``; model.json last, each file atomically."""
    tensors = {key: value.cpu().contiguous() for key, value in model.network.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    description = _Description(
        name=model.name,
        classes=model.classes,
        preprocessing=model.preprocessing,
        lineage=model.lineage,
    )
    write_text(folder / DESCRIPTION, description.model_dump_json(indent=2) + "\n")


def load_model(folder: Path) -> TrainedModel:
    """Load what ``save_model`` wrote, or the model.tar.gz of it; the network is in eval mode.

    Raises:
        TrainingError: there is no model, or it is damaged.
    """
    if not (folder / DESCRIPTION).is_file() and (folder / ARCHIVE).is_file():
        with tempfile.TemporaryDirectory() as temporary:
            content = Path(temporary) / "model"
            try:
                unpack(folder / ARCHIVE, content)
            except Exception as e:  # tarfile, zlib and the file system each have their own
                raise TrainingError(f"{folder / ARCHIVE} cannot be unpacked: {e}") from e
            return load_model(content)
    description = _read_description(folder / DESCRIPTION)
    size = description.preprocessing.image_size
    network = _create(description.name, len(description.classes), _options(description.name, size))
    try:
        network.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    except (OSError, SafetensorError, RuntimeError) as e:
        raise TrainingError(
            f"{folder / WEIGHTS} does not hold the weights that {DESCRIPTION} describes:"
            f" {' '.join(str(e).split())[:300]}"
        ) from e
    return TrainedModel(
        network.eval(),
        description.name,
        description.classes,
        description.preprocessing,
        description.lineage,
    )


def _read_description(file: Path) -> _Description:
    try:
        return _Description.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise TrainingError(f"{file.parent} holds no model: it has no {file.name}.") from e
    except ValidationError as e:
        raise TrainingError(f"{file} is not what pixloop writes: {e}") from e


def _options(name: str, image_size: int) -> dict[str, Any]:
    """What ``timm.create_model`` must be told for a network of fixed input size."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them."
        raise TrainingError(f"model.name: timm has no model {name!r}. {hint}")
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
    return Preprocessing(
        image_size=config.image_size,
        resize=config.resize,
        crop_share=data["crop_pct"],
        interpolation="bilinear" if data["interpolation"] == "bilinear" else "bicubic",
        mean=data["mean"],
        std=data["std"],
    )
