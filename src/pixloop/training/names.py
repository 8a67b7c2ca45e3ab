"""The names in pixloop.yaml that only libraries know: model, optimizer and augmentations."""

from collections.abc import Callable

from torch import nn

from pixloop.config import Config
from pixloop.data.augment import Augmenter
from pixloop.errors import ConfigError, TrainingError
from pixloop.imaging import Preprocessing
from pixloop.training.classifiers import check_classifier
from pixloop.training.models import find_detector
from pixloop.training.optimizers import create_optimizer


def check_names(config: Config) -> None:
    """See that there is a model, an optimizer and augmentations of the names that are asked for.

    Raises:
        ConfigError: of each that there is not, its key and the nearest name.
    """
    wrong = []
    for check in (_check_model, _check_optimizer, _check_augmentations):
        try:
            check(config)
        except (TrainingError, ConfigError) as e:
            wrong.append(str(e))
    if wrong:
        raise ConfigError("\n".join(wrong))


def _check_model(config: Config) -> None:
    find: Callable[[str], object] = (
        find_detector if config.task == "detection" else check_classifier
    )
    find(config.model.name)


def _check_optimizer(config: Config) -> None:
    create_optimizer(nn.Linear(1, 1), config.training)


def _check_augmentations(config: Config) -> None:
    Augmenter(config.training.augmentations, Preprocessing(image_size=config.model.image_size))
