"""The search: workers that try settings until the budget is spent.

Workers are threads, one for each training at once; other processes and machines may search the
same study at the same time. What was tried is not tried again.
"""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState

from pixloop.config import Config
from pixloop.data.inspection import cores
from pixloop.pipeline.search_space import with_settings
from pixloop.tuning.listener import TuningListener
from pixloop.tuning.space import Settings, all_settings, params_of, size, suggest
from pixloop.tuning.study import (
    ENDED_BY,
    FAILURE,
    REPEATS,
    SECONDS,
    Study,
    beating,
    queue_again,
    retry_orphans,
)
from pixloop.tuning.trial import Ended, Train, Training, train_apart

#: So often in a row the sampler may choose what was tried; then what is left is taken.
_MOST_REPEATS = 8
_LOOK_S = 0.2


class Search:
    """A search through a study, on one data set.

    Args of the constructor: the project's configuration; the study; the data set's folder; the
    folder that gets a folder a trial; weights to start from, which are the current model's alone;
    what is told; and what trains.
    """

    def __init__(
        self,
        config: Config,
        study: Study,
        dataset: Path,
        folder: Path,
        weights: Path | None,
        listener: TuningListener,
        train: Train = train_apart,
    ) -> None:
        self._config, self._study, self._dataset = config, study, dataset
        self._folder, self._weights = folder, weights
        self._listener, self._train = listener, train
        self._parallel = config.tuning.parallel
        self._deadline: float | None = None
        self._stop = threading.Event()
        self._choosing = threading.Lock()

    def run(self) -> None:
        """Search until the budget is spent, or the space is exhausted.

        When it is interrupted, the trials at work are queued to be tried again.
        """
        minutes = self._config.tuning.minutes
        self._deadline = None if minutes is None else time.monotonic() + minutes * 60
        self._listener.search_started(self._study, self._config.tuning.trials, self._deadline)
        try:
            with ThreadPoolExecutor(self._parallel, "tuning") as pool:
                workers = [pool.submit(self._work) for _ in range(self._parallel)]
                try:
                    while wait(workers, _LOOK_S, FIRST_EXCEPTION).not_done:
                        if any(w.done() and w.exception() for w in workers):
                            break
                finally:
                    self._stop.set()
            for worker in workers:
                worker.result()
        finally:
            self._listener.search_ended()

    def _work(self) -> None:
        while not self._stop.is_set():
            chosen = self._choose()
            if chosen is None:
                return
            with beating(chosen[0]):
                self._try(*chosen)

    def _choose(self) -> tuple[optuna.Trial, Settings] | None:
        """A trial of settings that nobody has tried; None where the budget or the space is spent.

        One at a time in all processes of this machine: SQLite gives a queued trial to all who ask
        at once.
        """
        with self._choosing, FileLock(self._folder.parent / "choosing.lock"):
            retry_orphans(self._study.found)
            for _ in range(_MOST_REPEATS):
                if not self._may_begin():
                    return None
                trial = self._study.found.ask()
                settings = suggest(trial, self._study.distributions)
                if not self._is_known(trial, settings):
                    return trial, settings
                trial.set_user_attr(REPEATS, True)
                self._study.found.tell(trial, state=TrialState.FAIL)
        return self._untried()

    def _untried(self) -> tuple[optuna.Trial, Settings] | None:
        """What is left of a space with an end, when the sampler keeps to what it knows."""
        found = self._study.distributions
        known = {_key(self._study.settings(trial)) for trial in self._study.trials()}
        left = next((s for s in all_settings(self._study.space) if _key(s) not in known), None)
        if left is None:
            return None
        self._study.found.enqueue_trial(params_of(left, found))
        trial = self._study.found.ask()
        return trial, suggest(trial, found)

    def _is_known(self, trial: optuna.Trial, settings: Settings) -> bool:
        others = [other for other in self._study.trials() if other.number != trial.number]
        return any(_key(self._study.settings(other)) == _key(settings) for other in others)

    def _may_begin(self) -> bool:
        trials = self._study.trials()
        if len(trials) >= self._config.tuning.trials or self._is_exhausted(trials):
            return False
        return self._in_time or not trials

    @property
    def _in_time(self) -> bool:
        return self._deadline is None or time.monotonic() < self._deadline

    def _is_exhausted(self, trials: list[FrozenTrial]) -> bool:
        most = size(self._study.space)
        return most is not None and len({_key(self._study.settings(t)) for t in trials}) >= most

    def _try(self, trial: optuna.Trial, settings: Settings) -> None:
        scores: dict[int, float] = {}
        training = self._training(settings)
        started = time.monotonic()
        self._listener.trial_started(trial.number, settings)
        try:
            ended = self._train(training, self._judge(trial, training, scores), self._stop)
        except BaseException:
            self._interrupted(trial)
            raise
        if self._stop.is_set():
            self._interrupted(trial)
            return
        trial.set_user_attr(SECONDS, round(time.monotonic() - started, 1))
        for heavy in ("checkpoints", "model"):
            shutil.rmtree(training.folder / heavy, ignore_errors=True)
        self._close(trial, ended, scores)

    def _training(self, settings: Settings) -> Training:
        epochs = self._config.tuning.trial_epochs
        shorter = {} if epochs is None else {"training.epochs": epochs}
        config = with_settings(self._config, {**shorter, **settings})
        same_model = config.model.name == self._config.model.name
        return Training(
            config=config,
            dataset=self._dataset,
            folder=self._folder / _key(settings),
            weights=self._weights if same_model else None,
            threads=max(1, cores() // self._parallel) if self._parallel > 1 else None,
            settings=settings,
        )

    def _judge(
        self, trial: optuna.Trial, training: Training, scores: dict[int, float]
    ) -> Callable[[int, float], bool]:
        current = self._study.is_current(trial)
        last = training.config.training.epochs

        def goes_on(epoch: int, score: float) -> bool:
            scores[epoch] = score
            # The warm start is about as good in every trial. Pruners hold the best score so far
            # against others': with its score among them, no trial would ever be poor.
            if epoch > 0:
                trial.report(score, epoch)
            self._listener.trial_advanced(trial.number, epoch, score)
            if self._stop.is_set():
                return False
            # What all others are held against is always trained to its end.
            if current or epoch >= last:
                return True
            reason = "" if self._in_time else "time"
            reason = reason or ("pruner" if trial.should_prune() else "")
            if reason:
                trial.set_user_attr(ENDED_BY, reason)
            return not reason

        return goes_on

    def _close(self, trial: optuna.Trial, ended: Ended, scores: dict[int, float]) -> None:
        study, best = self._study.found, max(scores.values(), default=None)
        if ended.how == "failed" or best is None:
            reason = ended.reason or "it ended without an epoch"
            trial.set_user_attr(FAILURE, reason)
            study.tell(trial, state=TrialState.FAIL)
            self._listener.trial_ended(trial.number, "failed", None, reason)
        elif ended.how == "stopped":
            study.tell(trial, state=TrialState.PRUNED)
            self._listener.trial_ended(trial.number, "stopped", best)
        else:
            study.tell(trial, best)
            self._listener.trial_ended(trial.number, "done", best)

    def _interrupted(self, trial: optuna.Trial) -> None:
        self._study.found.tell(trial, state=TrialState.FAIL)
        queue_again(self._study.found, trial)
        self._listener.trial_ended(trial.number, "interrupted", None)


def _key(settings: Settings) -> str:
    """The same for the same settings; it names their folder, where an interrupted trial goes on."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
