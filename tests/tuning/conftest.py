"""A search over settings whose scores are known, without a network."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.tuning.listener import Silent
from pixloop.tuning.search import Search
from pixloop.tuning.space import tuning_space
from pixloop.tuning.study import Study, open_study
from pixloop.tuning.trial import Ended, OnEpoch, Training

SPACE = "tuning.space={training.weight_decay: {low: 0.0, high: 1.0}}"


def make_config(*settings: str) -> Config:
    return parse_config({"task": "classification", "data": "p", "name": "colours"}, settings)


def score_of(training: Training) -> float:
    """The best weight decay is 0.8."""
    return 1 - abs(training.config.training.weight_decay - 0.8)


class Trainer:
    """Trains nothing: an epoch's score nears what the settings can reach."""

    def __init__(self) -> None:
        self.trained: list[Training] = []
        self._lock = threading.Lock()

    def __call__(self, training: Training, on_epoch: OnEpoch, given_up: threading.Event) -> Ended:
        with self._lock:
            self.trained.append(training)
        epochs = training.config.training.epochs
        for epoch in range(1, epochs + 1):
            if not on_epoch(epoch, score_of(training) * epoch / epochs):
                return Ended("stopped")
        return Ended("done")


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


Open = Callable[..., tuple[Config, Study]]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Opens the study of a configuration with these settings, in one folder."""

    def open_(*settings: str) -> tuple[Config, Study]:
        named = any(s.startswith(("tuning.space", "tuning.learning_rate")) for s in settings)
        config = make_config(*(() if named else (SPACE,)), *settings)
        return config, open_study(config, "0" * 64, tuning_space(config), tmp_path / "tuning")

    return open_


@pytest.fixture
def search(opened: Open, tmp_path: Path, trainer: Trainer) -> Callable[..., Study]:
    """Searches with these settings; the study afterwards."""

    def run(*settings: str, train: Any = trainer, listener: Any = None) -> Study:
        config, study = opened(*settings)
        folder = tmp_path / "tuning" / study.name / "trials"
        Search(config, study, tmp_path, folder, None, listener or Silent(), train).run()
        return study

    return run
