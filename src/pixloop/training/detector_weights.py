"""What a detector starts from: a file, weights trained on COCO, a backbone of ImageNet, or chance.

Names of tensors are torchvision's. A file may hold a whole detector, whose class head is made anew
where it has other classes, or the classifier that the detector's backbone was cut from.
"""

import logging
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import torch
import torchvision
from torch import Tensor, nn

from pixloop.errors import TrainingError
from pixloop.training.built_model import normalisation_layers
from pixloop.training.detectors import BACKBONE, DetectorFamily
from pixloop.training.weights import read_weights

#: Where a number of classes shows in the shapes of tensors.
_CLASS_HEADS = ("roi_heads.box_predictor.", "head.classification_head.")
_NAMED_KEYS = 3
_PROBE_S = 3.0
_EPSILON = 1e-5  #: of torch's batch normalisation

_log = logging.getLogger(__name__)

#: Where the weights come from, in words, and the names of the tensors that were filled, if any.
Loaded = tuple[str, frozenset[str]]


def load_file_weights(network: nn.Module, name: str, family: DetectorFamily, path: Path) -> Loaded:
    """Fill a detector from a file: all of it, or its backbone.

    Raises:
        TrainingError: the file cannot be read, or holds neither; the message names tensors.
    """
    tensors = read_weights(path)
    if any(key in tensors for key in network.state_dict()):
        return f"file {path.name}", load_detector(network, tensors, name, path)
    return f"file {path.name} (backbone)", load_backbone(network, tensors, family, path)


def load_published_weights(network: nn.Module, name: str, family: DetectorFamily) -> Loaded:
    """Fill a detector with what torchvision publishes for it; nothing, with a warning, without."""
    reasons = []
    for url, trained_on in ((family.coco_url, "COCO"), (family.backbone_url, "ImageNet")):
        if url is None:
            continue
        try:
            path = _fetch(url)
        except Exception as e:  # urllib's, the socket's, torch.hub's errors have no common root
            reasons.append(" ".join(str(e).split())[:200] or type(e).__name__)
            continue
        tensors = read_weights(path)
        if trained_on == "ImageNet":
            filled = load_backbone(network, tensors, family, path)
            return f"torchvision {family.backbone} (ImageNet, backbone)", filled
        filled = load_detector(network, tensors, name, path)
        if family.zero_epsilon:
            _shift_variances(network)
        return f"torchvision {name} (COCO)", filled
    _log.warning(
        f"No published weights for {name}: {reasons[-1]}. Training starts from random weights,"
        " which needs more pictures and epochs. Set model.weights to a file to start from, or"
        " model.pretrained=false to mean it."
    )
    return f"random initialisation ({reasons[-1]})", frozenset()


def load_detector(
    network: nn.Module, tensors: dict[str, Tensor], name: str, path: Path
) -> frozenset[str]:
    """Fill a whole detector, but for class heads of other shapes.

    Returns:
        The names of the tensors that were filled.

    Raises:
        TrainingError: tensors are missing, or of other shapes.
    """
    own = network.state_dict()
    fitting = {
        key: value
        for key, value in tensors.items()
        if key not in own or own[key].shape == value.shape or not key.startswith(_CLASS_HEADS)
    }
    replaced = tensors.keys() - fitting.keys()
    try:
        missing = set(network.load_state_dict(fitting, strict=False).missing_keys)
    except RuntimeError as e:
        raise TrainingError(
            f"model.weights: {path} does not fit {name}: {' '.join(str(e).split())[:300]}"
        ) from e
    lost = sorted(k for k in missing - replaced if not k.endswith("num_batches_tracked"))
    if lost:
        raise TrainingError(
            f"model.weights: {path} does not hold the weights of {name}: {len(lost)} tensors are"
            f" missing, such as {', '.join(lost[:_NAMED_KEYS])}. Set model.name to the network"
            " they belong to."
        )
    return frozenset(own.keys() - missing)


def load_backbone(
    network: nn.Module, tensors: dict[str, Tensor], family: DetectorFamily, path: Path
) -> frozenset[str]:
    """Fill a detector's backbone from the classifier that it was cut from.

    Returns:
        The names of the tensors that were filled.

    Raises:
        TrainingError: the file is not of that classifier.
    """
    own = network.state_dict()
    names = _backbone_names(network, family.backbone)
    lost = [key for key in names if key not in tensors and not key.endswith("num_batches_tracked")]
    # A backbone may end in fewer channels than the classifier (SSDLite's does): then what fits.
    found = {
        names[key]: value
        for key, value in tensors.items()
        if key in names and own[names[key]].shape == value.shape
    }
    if lost or not any(key.endswith("weight") for key in found):
        what = f"{len(lost)} of them are missing" if lost else "their shapes differ"
        raise TrainingError(
            f"model.weights: {path} holds neither this detector's weights nor those of its"
            f" backbone, torchvision's {family.backbone}: {what}. It needs names such as"
            f" {', '.join(list(names)[:_NAMED_KEYS])}; it has"
            f" {', '.join(sorted(tensors)[:_NAMED_KEYS])}."
        )
    network.load_state_dict(found, strict=False)
    return frozenset(found)


def filled_statistics(network: nn.Module, filled: frozenset[str]) -> frozenset[str]:
    """The layers of batch normalisation whose statistics are among the tensors ``filled``."""
    return frozenset(
        name for name in normalisation_layers(network) if f"{name}.running_mean" in filled
    )


def _backbone_names(network: nn.Module, backbone: str) -> dict[str, str]:
    """The classifier's name of each of the backbone's tensors → the detector's.

    A detector's backbone is the classifier's layers, in their order, under other names.
    """
    with torch.device("meta"):
        classifier = torchvision.models.get_model(backbone)
    theirs = [key for key in classifier.state_dict() if not key.startswith(("classifier.", "fc."))]
    ours = [key for key in network.state_dict() if key.startswith(BACKBONE)]
    return dict(zip(theirs, ours, strict=False))  # the detector may leave the last layers out


def _fetch(url: str) -> Path:
    """The file at ``url`` in torch.hub's cache, downloaded where it is not there and can be."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if not path.is_file():
        try:  # urllib would wait for minutes
            httpx.head(url, timeout=_PROBE_S)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as e:
            raise OSError(f"{urlsplit(url).netloc} cannot be reached") from e
        path.parent.mkdir(parents=True, exist_ok=True)
        # torchvision's names end in the first digits of the file's SHA-256.
        digits = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), digits, progress=False)
    return path


def _shift_variances(network: nn.Module) -> None:
    """Take the epsilon that batch normalisation will add off, where the weights know of none."""
    for layer in normalisation_layers(network).values():
        if isinstance(layer.running_var, Tensor):
            layer.running_var -= _EPSILON
