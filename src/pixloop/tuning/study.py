"""The study: an Optuna study, named after what it searches on, that outlives its process.

Trials lie in SQLite or PostgreSQL. A trial whose search was killed is tried again: at once where
the search ran on this machine, once it was not heard of for a while elsewhere.
"""

import hashlib
import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from pixloop.config import Config, flatten
from pixloop.errors import ConfigError
from pixloop.pipeline.arguments import STEP_KEYS
from pixloop.pipeline.search_space import Space
from pixloop.tracking import with_driver
from pixloop.tuning.space import Distributions, Settings, distributions, params_of, settings_of

FILE = "studies.db"
#: Attributes of a trial.
OWNER, FAILURE, REPEATS, RETRIES, SECONDS = "owner", "failure", "repeats", "retries", "seconds"
#: Why a trial that ended early did: the pruner, or the time was up.
ENDED_BY = "ended by"
_HEARTBEAT_S, _MISSED_S = 15, 90
_MOST_RETRIES = 2
#: When this process was new: who had its number before is gone.
_BORN = time.time()
_WARM_UP_TRIALS = 4
_SEEDS = 2**32  # that optuna's samplers take

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True, slots=True)
class Study:
    """An Optuna study and what it searches."""

    found: optuna.Study
    space: Space
    current: Settings  #: the project's settings, which are the first trial

    @property
    def name(self) -> str:
        """What it is called in its storage."""
        return self.found.study_name

    @property
    def distributions(self) -> Distributions:
        """The space as Optuna's distributions."""
        return distributions(self.space)

    def settings(self, trial: FrozenTrial) -> Settings:
        """What a trial tried: key → value as pixloop.yaml would hold it."""
        return settings_of(trial.params, self.distributions)

    def is_current(self, trial: FrozenTrial | Trial) -> bool:
        """Whether a trial is of the project's settings as they are."""
        found = self.distributions
        return settings_of(trial.params, found) == settings_of(
            params_of(self.current, found), found
        )

    def trials(self) -> list[FrozenTrial]:
        """All that count: done, pruned, failed for a reason of their own, or at work."""
        found = self.found.get_trials(deepcopy=False)
        return [trial for trial in found if _counts(trial)]

    def best(self) -> FrozenTrial | None:
        """The best of those that were trained to their end; of equals the first."""
        done = [t for t in self.trials() if t.state == TrialState.COMPLETE]
        return max(done, key=lambda t: (t.value or 0.0, -t.number), default=None)


def open_study(config: Config, dataset_sha256: str, space: Space, folder: Path) -> Study:
    """Open the study of a data set, a space and all other settings; make it where it is new.

    Args:
        config: the project's; its settings are the first trial.
        dataset_sha256: of the data set.
        space: what is searched.
        folder: where SQLite's file is, unless ``tuning.storage`` gives an address.

    Raises:
        ConfigError: the storage cannot be reached.
    """
    flat = flatten(config)
    current = {key: flat[key] for key in space}
    name = _name(config, dataset_sha256, space)
    folder.mkdir(parents=True, exist_ok=True)
    # SQLite's tables are made once, by whoever is first.
    with FileLock(folder / "opening.lock"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = _storage(config.tuning.storage, folder)
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            pruner=_pruner(config),
        )
        tried = len(study.get_trials(deepcopy=False))
        # A search that goes on must not draw what it drew before.
        study.sampler = _sampler(config, (config.training.seed + 1000 * tried) % _SEEDS)
    found = Study(study, space, current)
    study.set_user_attr("dataset", dataset_sha256)
    study.set_user_attr("current", current)
    retry_orphans(study)
    if not any(found.is_current(trial) for trial in study.get_trials(deepcopy=False)):
        study.enqueue_trial(params_of(current, found.distributions), skip_if_exists=True)
    return found


@contextmanager
def beating(trial: Trial) -> Iterator[None]:
    """Say while the block runs which process a trial is at work in, and that it lives."""
    owner = {"host": socket.gethostname(), "pid": os.getpid()}
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_HEARTBEAT_S):
            trial.set_user_attr(OWNER, {**owner, "seen": time.time()})

    trial.set_user_attr(OWNER, {**owner, "seen": time.time()})
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def queue_again(study: optuna.Study, trial: FrozenTrial | Trial) -> None:
    """Queue an interrupted trial's settings, unless that was done too often."""
    retries = int(trial.user_attrs.get(RETRIES, 0)) + 1
    if retries <= _MOST_RETRIES and trial.params:
        study.enqueue_trial(trial.params, user_attrs={RETRIES: retries})


def retry_orphans(study: optuna.Study) -> None:
    """Give up the trials whose process is gone, and queue their settings again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_orphan(trial.user_attrs.get(OWNER)):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            queue_again(study, trial)


def _is_orphan(owner: Mapping[str, Any] | None) -> bool:
    """Whether a trial's process is gone from this machine, or was not heard of for a while."""
    if owner is None:
        return False
    if owner["host"] == socket.gethostname():
        if owner["pid"] == os.getpid():
            return bool(owner["seen"] < _BORN)
        if not psutil.pid_exists(owner["pid"]):
            return True
    return bool(time.time() - owner["seen"] > _MISSED_S)


def _counts(trial: FrozenTrial) -> bool:
    if trial.state == TrialState.FAIL:
        return FAILURE in trial.user_attrs
    return trial.state != TrialState.WAITING


def _name(config: Config, dataset_sha256: str, space: Space) -> str:
    flat = flatten(config)
    fixed = {
        key: value
        for key, value in flat.items()
        if any(key == k or (k.endswith(".") and key.startswith(k)) for k in STEP_KEYS["Train"])
        and key not in space
        and key != "training.workers"
    }
    known = [
        dataset_sha256,
        {key: repr(part) for key, part in space.items()},
        fixed,
        config.model.weights,
        config.tuning.trial_epochs,
    ]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    suffix = "" if config.tuning.sampler == "tpe" else f"-{config.tuning.sampler}"
    return f"{config.name}-{digest[:10]}{suffix}"


def _storage(url: str | None, folder: Path) -> RDBStorage:
    if url is None:
        url = f"sqlite:///{folder / FILE}"
    # SQLite waits for other writers as long as this.
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    try:
        return RDBStorage(
            with_driver(url),
            engine_kwargs=options,
        )
    except ImportError as e:
        raise ConfigError(
            f"tuning.storage: {e}. PostgreSQL needs an extra: pip install 'pixloop[postgres]'."
        ) from e
    except Exception as e:  # SQLAlchemy and each driver have errors of their own
        first_line = str(e).splitlines()[0]
        raise ConfigError(
            f"tuning.storage: the study cannot be kept there: {first_line}. Expected "
            "postgresql://user:password@host/database, or nothing for a file."
        ) from e


def _sampler(config: Config, seed: int) -> BaseSampler:
    if config.tuning.sampler == "random":
        return RandomSampler(seed=seed)
    # Of several workers, each avoids what the others are at.
    return TPESampler(
        seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_WARM_UP_TRIALS * 2
    )


def _pruner(config: Config) -> BasePruner:
    epochs = config.tuning.trial_epochs or config.training.epochs
    match config.tuning.pruner:
        case "median":
            # The first epoch of a schedule that warms up says little.
            return MedianPruner(_WARM_UP_TRIALS, n_warmup_steps=2, n_min_trials=3)
        case "hyperband":
            return HyperbandPruner(min_resource=1, max_resource=epochs)
        case "none":
            return NopPruner()
