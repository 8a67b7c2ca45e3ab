"""What is built before it is trained."""

from dataclasses import dataclass

from torch import nn

from pixloop.imaging import Preprocessing


@dataclass(frozen=True)
class BuiltModel:
    """A network that is ready to be trained.

    Attributes:
        network: of a classifier: float32 (N, 3, size, size) → logits (N, num_classes); of a
            detector: as ``detectors`` describes it. In training mode.
        preprocessing: how a picture becomes its input.
        weights_origin: where its first weights come from, in words.
        pretrained: whether they were trained before.
        fixed_statistics: the layers of batch normalisation whose statistics came with the weights,
            by name. They are kept; ``train`` leaves none where they are not to be.
    """

    network: nn.Module
    preprocessing: Preprocessing
    weights_origin: str
    pretrained: bool
    fixed_statistics: frozenset[str] = frozenset()


def normalisation_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers of batch normalisation, by name."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    }
