"""The trained torch network of a bundle, for what needs gradients or layers.

A bundle holds graphs, no network. The TorchScript graph is a trace of the network, so its
parameters have the network's names: the network is built by its name and takes them over. A
detector's graph is a rewriting that holds the network as a part.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pixloop.bundle import Bundle, Manifest
from pixloop.errors import BundleError
from pixloop.training.classifiers import create_classifier
from pixloop.training.models import find_detector

#: Where a detector's graph has its network.
_DETECTOR = "detector.network."
#: Between two computations of one network in float32; answers differ by their order of sums.
_TOLERANCE = 1e-3


def rebuild_network(bundle: Bundle) -> nn.Module:
    """The network that a bundle's graphs were written from, checked against its TorchScript graph.

    Returns:
        In eval mode, float32, on the CPU, without gradients of its parameters; it takes float32
        (N, 3, size, size), normalised. A classifier gives logits (N, K); a detector answers as
        ``training.detectors`` describes.

    Raises:
        BundleError: the bundle has no TorchScript graph, or one that is not of its network.
        TrainingError: this version of timm or of pixloop does not know the network.
    """
    graph = _open_graph(bundle)
    network = _build(bundle.manifest)
    prefix = _DETECTOR if bundle.manifest.task == "detection" else ""
    held = {k.removeprefix(prefix): v for k, v in graph.state_dict().items()}
    # A graph also holds as parameters what the network computes when it is built.
    own = {name: held[name] for name in network.state_dict() if name in held}
    try:
        network.load_state_dict(own)
    except RuntimeError as e:
        raise _foreign(bundle, " ".join(str(e).split())[:300]) from e
    for module in network.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010  (what hooks see stays as it was)
    # Depthwise convolutions are several times as fast on CPUs so.
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    _check(bundle, network, graph)
    return network


def _open_graph(bundle: Bundle) -> Any:
    manifest = bundle.manifest
    if all(graph.name != "torchscript" for graph in manifest.graphs):
        raise BundleError(
            f"{bundle.path} has no torchscript graph, from which the network is taken. Add "
            "torchscript to export.formats and run again; if it is there, certificate.json says "
            "why the graph was left out."
        )
    bundle.verify(bundle.graph_files("torchscript"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls tracing deprecated
        path = str(bundle.graph_path("torchscript"))
        # torch leaves torch.jit untyped.
        return torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]


def _build(manifest: Manifest) -> nn.Module:
    name, classes = str(manifest.lineage.get("model")), len(manifest.classes)
    if manifest.task == "detection":
        return find_detector(name).build(classes + 1)  # and the background
    return create_classifier(name, classes, manifest.preprocessing.image_size)


def _check(bundle: Bundle, network: nn.Module, graph: Any) -> None:
    """See that both answer alike to noise."""
    size = bundle.manifest.preprocessing.image_size
    noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = network(noise), graph(noise)
    if bundle.manifest.task == "detection":
        # Only the surest box: of near ties, either may suppress the other.
        ours, theirs = torch.stack([_surest(found) for found in ours]), theirs[1][:, 0]
    reach = max(1.0, float(theirs.abs().max()))
    difference = float((ours - theirs).abs().max())
    if not difference <= _TOLERANCE * reach:
        raise _foreign(bundle, f"their answers to the same input differ by {difference:.3g}")


def _surest(found: Mapping[str, Tensor]) -> Tensor:
    """The highest score of a picture's boxes, 0 where there are none."""
    return torch.cat([found["scores"], torch.zeros(1)]).max()


def _foreign(bundle: Bundle, reason: str) -> BundleError:
    name = bundle.manifest.lineage.get("model")
    return BundleError(
        f"{bundle.graph_path('torchscript')} is not the trained {name} that bundle.json names: "
        f"{reason}. Run again with the installed versions."
    )
