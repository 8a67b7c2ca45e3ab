"""Networks by name: built, saved, and loaded with all that is needed to use them.

::

    model/
      weights.safetensors
      model.json              the task, name, classes, preprocessing and lineage; written last

A classifier is any of timm's models. Detectors are those of ``DETECTORS``.
"""

import difflib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import timm
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import (
    MobileNet_V2_Weights,
    MobileNet_V3_Large_Weights,
    ResNet50_Weights,
)
from torchvision.models.detection import (
    FasterRCNN_MobileNet_V3_Large_320_FPN_Weights,
    FasterRCNN_MobileNet_V3_Large_FPN_Weights,
    FasterRCNN_ResNet50_FPN_V2_Weights,
    FasterRCNN_ResNet50_FPN_Weights,
    RetinaNet_ResNet50_FPN_V2_Weights,
    RetinaNet_ResNet50_FPN_Weights,
    SSDLite320_MobileNet_V3_Large_Weights,
)

from pixloop.bundle import Task
from pixloop.config import ModelConfig
from pixloop.errors import TrainingError
from pixloop.files import atomic_path, unpack, write_text
from pixloop.imaging import Preprocessing
from pixloop.training.built_model import BuiltModel
from pixloop.training.classifiers import build_classifier, create_classifier
from pixloop.training.detector_weights import (
    filled_statistics,
    load_file_weights,
    load_published_weights,
)
from pixloop.training.detectors import (
    DetectorFamily,
    fasterrcnn_mobilenet_v2_fpn,
    retinanet_mobilenet_v2_fpn,
    torchvision_detector,
)

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
ARCHIVE = "model.tar.gz"

_RESNET50 = ResNet50_Weights.IMAGENET1K_V1.url
_MOBILENET_V3 = MobileNet_V3_Large_Weights.IMAGENET1K_V1.url
_MOBILENET_V2 = MobileNet_V2_Weights.IMAGENET1K_V1.url

#: Every detector that ``model.name`` may be. A new one is one more entry, and a builder.
DETECTORS: Mapping[str, DetectorFamily] = MappingProxyType(
    {
        "fasterrcnn_mobilenet_v3_large_fpn": DetectorFamily(
            "Faster R-CNN on MobileNetV3: a good start",
            torchvision_detector("fasterrcnn_mobilenet_v3_large_fpn"),
            "mobilenet_v3_large",
            _MOBILENET_V3,
            FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1.url,
        ),
        "fasterrcnn_mobilenet_v3_large_320_fpn": DetectorFamily(
            "the same with fewer regions, and weights from pictures of 320 pixels",
            torchvision_detector("fasterrcnn_mobilenet_v3_large_320_fpn"),
            "mobilenet_v3_large",
            _MOBILENET_V3,
            FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1.url,
        ),
        "fasterrcnn_resnet50_fpn": DetectorFamily(
            "Faster R-CNN on ResNet-50: accurate, for a GPU",
            torchvision_detector("fasterrcnn_resnet50_fpn"),
            "resnet50",
            _RESNET50,
            FasterRCNN_ResNet50_FPN_Weights.COCO_V1.url,
            zero_epsilon=True,
        ),
        "fasterrcnn_resnet50_fpn_v2": DetectorFamily(
            "the same with deeper heads: slower, and more accurate",
            torchvision_detector("fasterrcnn_resnet50_fpn_v2"),
            "resnet50",
            _RESNET50,
            FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.url,
        ),
        "retinanet_resnet50_fpn": DetectorFamily(
            "RetinaNet on ResNet-50: one stage, for a GPU",
            torchvision_detector("retinanet_resnet50_fpn"),
            "resnet50",
            _RESNET50,
            RetinaNet_ResNet50_FPN_Weights.COCO_V1.url,
            zero_epsilon=True,
        ),
        "retinanet_resnet50_fpn_v2": DetectorFamily(
            "the same with group normalisation in its heads: more accurate",
            torchvision_detector("retinanet_resnet50_fpn_v2"),
            "resnet50",
            _RESNET50,
            RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1.url,
        ),
        "ssdlite320_mobilenet_v3_large": DetectorFamily(
            "SSDLite on MobileNetV3: light, but weak on small objects",
            torchvision_detector("ssdlite320_mobilenet_v3_large"),
            "mobilenet_v3_large",
            _MOBILENET_V3,
            SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.url,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        "fasterrcnn_mobilenet_v2_fpn": DetectorFamily(
            "Faster R-CNN on MobileNetV2 with a narrow pyramid: trains on a CPU",
            fasterrcnn_mobilenet_v2_fpn,
            "mobilenet_v2",
            _MOBILENET_V2,
        ),
        "retinanet_mobilenet_v2_fpn": DetectorFamily(
            "RetinaNet on MobileNetV2 with a narrow pyramid and shallow heads: small and quick",
            retinanet_mobilenet_v2_fpn,
            "mobilenet_v2",
            _MOBILENET_V2,
        ),
    }
)


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and what belongs to it.

    Attributes:
        network: a classifier: float32 (N, 3, size, size) → logits (N, len(classes)); a detector:
            as ``detectors`` describes it.
        name: of the model: timm's, or one of ``DETECTORS``.
        classes: in the order of the logits; a detector's labels are indices into them, plus 1.
        preprocessing: how a picture becomes its input.
        lineage: where it comes from: data set, configuration, seed, versions.
        task: what it does.
    """

    network: nn.Module
    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    lineage: dict[str, Any] = field(default_factory=dict)
    task: Task = "classification"


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task = "classification"
    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    lineage: dict[str, Any]


def build_model(
    config: ModelConfig,
    num_classes: int,
    weights: Path | None,
    task: Task = "classification",
) -> BuiltModel:
    """Build a model for ``num_classes`` and give it its first weights.

    Args:
        config: the model's name, size and origin.
        num_classes: how many classes there are; a detector's background is not one of them.
        weights: a file to start from, before anything published. ``config.weights`` is not read:
            whoever calls has found the file.
        task: what the model is for.

    Raises:
        TrainingError: there is no such model, the file does not fit it, or it cannot see pictures
            of ``config.image_size``.
    """
    if task == "classification":
        return build_classifier(config, num_classes, weights)
    return _build_detector(config, num_classes, weights)


def find_detector(name: str) -> DetectorFamily:
    """The detector ``name``.

    Raises:
        TrainingError: there is none; the message has the nearest.
    """
    if name in DETECTORS:
        return DETECTORS[name]
    known = ", ".join(DETECTORS)
    if timm.is_model(name):
        raise TrainingError(
            f"model.name: {name!r} is a classifier; task: detection needs a detector: {known}."
        )
    near = difflib.get_close_matches(name, DETECTORS, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else f"There are {known}."
    raise TrainingError(f"model.name: there is no detector {name!r}. {hint}")


def save_model(folder: Path, model: TrainedModel) -> None:
    """Write a trained model into ``folder``; model.json last, each file atomically."""
    tensors = {key: value.cpu().contiguous() for key, value in model.network.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    description = _Description(
        task=model.task,
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
    network = _create(description)
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
        description.task,
    )


def _read_description(file: Path) -> _Description:
    try:
        return _Description.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise TrainingError(f"{file.parent} holds no model: it has no {file.name}.") from e
    except ValidationError as e:
        raise TrainingError(f"{file} is not what pixloop writes: {e}") from e


def _build_detector(config: ModelConfig, num_classes: int, weights: Path | None) -> BuiltModel:
    family = find_detector(config.name)
    network = family.build(num_classes + 1)  # and the background
    origin, filled = "random initialisation", frozenset[str]()
    if weights is not None:
        origin, filled = load_file_weights(network, config.name, family, weights)
    elif config.pretrained:
        origin, filled = load_published_weights(network, config.name, family)
    preprocessing = Preprocessing(
        image_size=config.image_size,
        resize=config.resize,
        interpolation="bilinear" if config.interpolation == "auto" else config.interpolation,
        scaled_decoding=config.scaled_decoding,
        mean=family.mean,
        std=family.std,
    )
    statistics = filled_statistics(network, filled)
    return BuiltModel(network.train(), preprocessing, origin, bool(filled), statistics)


def _create(description: _Description) -> nn.Module:
    """The network that a description is of, with random weights."""
    classes = len(description.classes)
    if description.task == "detection":
        return find_detector(description.name).build(classes + 1)
    size = description.preprocessing.image_size
    return create_classifier(description.name, classes, size)
