import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState
from tests.tuning.conftest import SPACE, Trainer

from pixloop.tuning.listener import Silent
from pixloop.tuning.study import FAILURE
from pixloop.tuning.trial import Ended, OnEpoch, Training

QUICK = ("training.epochs=4", "tuning.parallel=1")


def keys(study) -> list[str]:
    return [str(study.settings(trial)) for trial in study.trials()]


def test_the_first_trial_is_of_the_current_settings(search, trainer) -> None:
    study = search(*QUICK, "tuning.trials=3", "training.weight_decay=0.3")
    assert study.settings(study.trials()[0]) == {"training.weight_decay": 0.3}
    assert trainer.trained[0].settings == {"training.weight_decay": 0.3}
    assert len(study.trials()) == 3


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_finds_better_settings_than_the_current(search, sampler) -> None:
    study = search(*QUICK, "tuning.trials=10", f"tuning.sampler={sampler}")
    best = study.best()
    assert best is not None
    assert best.value > 0.8
    assert not study.is_current(best)


def test_a_bad_trial_is_stopped_early_and_the_current_settings_never(search) -> None:
    study = search(*QUICK, "tuning.trials=14", "training.weight_decay=0.0", "training.epochs=6")
    trials = study.trials()
    assert trials[0].state == TrialState.COMPLETE  # although it is among the worst
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert pruned
    assert all(max(t.intermediate_values) < 6 for t in pruned)
    assert max(t.value for t in trials if t.state == TrialState.COMPLETE) > max(
        t.value for t in pruned
    )


def test_a_head_that_is_good_from_the_start_hides_no_bad_trial(search) -> None:
    def train(training: Training, on_epoch: OnEpoch, given_up: threading.Event) -> Ended:
        on_epoch(0, 0.99)
        return Trainer()(training, on_epoch, given_up)

    study = search(*QUICK, "tuning.trials=14", "training.epochs=6", train=train)
    pruned = [t for t in study.trials() if t.state == TrialState.PRUNED]
    assert pruned
    assert all(2 <= max(t.intermediate_values) < 6 for t in pruned)


def test_parallel_workers_never_try_the_same(search, trainer) -> None:
    choices = "tuning.space={training.batch_size: [8, 16, 64], model.resize: [crop, squash]}"
    study = search(choices, "tuning.parallel=4", "tuning.trials=50", "training.epochs=2")
    tried = keys(study)
    assert len(tried) == len(set(tried)) == 6  # the whole space, and then it ends
    assert len(trainer.trained) == 6


def test_a_budget_is_kept_by_parallel_workers(search, trainer) -> None:
    search("tuning.parallel=4", "tuning.trials=5", "training.epochs=2")
    assert len(trainer.trained) == 5


def test_a_search_goes_on_where_it_was_and_draws_nothing_twice(search, trainer) -> None:
    first = keys(search(*QUICK, "tuning.trials=4"))
    study = search(*QUICK, "tuning.trials=7")
    again = keys(study)
    assert len(study.found.get_trials()) == 7  # the sampler did not begin anew
    assert again[:4] == first
    assert len(set(again)) == 7
    assert len(trainer.trained) == 7


def test_a_failed_trial_stops_no_other_and_says_why(search) -> None:
    def train(training, on_epoch, given_up):
        if training.config.training.weight_decay > 0.5:
            return Ended("failed", "memory ran out")
        return Trainer()(training, on_epoch, given_up)

    study = search(*QUICK, "tuning.trials=8", train=train)
    failed = [t for t in study.trials() if t.state == TrialState.FAIL]
    assert failed
    assert len(study.trials()) == 8
    assert failed[0].user_attrs[FAILURE] == "memory ran out"
    assert study.best() is not None


def test_when_the_time_is_up_trials_end_with_their_epoch(search) -> None:
    def train(training, on_epoch, given_up):
        for epoch in range(1, 5):
            time.sleep(0.2)
            if not on_epoch(epoch, 0.1 * epoch):
                return Ended("stopped")
        return Ended("done")

    study = search(*QUICK, "tuning.trials=500", "tuning.minutes=0.05", train=train)
    trials = study.trials()
    assert trials[0].state == TrialState.COMPLETE  # the current settings are spared
    assert {t.state for t in trials[1:]} <= {TrialState.PRUNED, TrialState.COMPLETE}
    assert len(trials) < 30
    assert all(t.user_attrs.get("ended by") in (None, "time") for t in trials)


def test_the_current_settings_are_trained_to_their_end_when_the_time_is_up(search) -> None:
    def train(training, on_epoch, given_up):
        time.sleep(0.2)
        return Trainer()(training, on_epoch, given_up)

    study = search(*QUICK, "tuning.minutes=0.001", train=train)
    (only,) = study.trials()
    assert only.state == TrialState.COMPLETE
    assert max(only.intermediate_values) == 4


def test_an_interrupted_trial_is_tried_again(search, trainer) -> None:
    class Interrupts(Silent):
        def trial_advanced(self, number: int, epoch: int, score: float) -> None:
            if number == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(*QUICK, "tuning.trials=6", listener=Interrupts())
    interrupted = trainer.trained[-1].settings
    study = search(*QUICK, "tuning.trials=6")
    assert trainer.trained[3].settings == interrupted
    assert trainer.trained[3].folder == trainer.trained[2].folder  # so its checkpoints are found
    assert len(study.trials()) == 6


KILLED = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from tests.tuning.conftest import SPACE, Trainer, make_config
    from pixloop.tuning.listener import Silent
    from pixloop.tuning.search import Search
    from pixloop.tuning.space import tuning_space
    from pixloop.tuning.study import open_study

    class Slow(Trainer):
        def __call__(self, training, on_epoch, given_up):
            if len(self.trained) == 2:
                print("third", flush=True)
                time.sleep(600)
            return super().__call__(training, on_epoch, given_up)

    folder = Path(sys.argv[1])
    config = make_config(SPACE, "tuning.trials=6", "training.epochs=4", "tuning.parallel=1")
    study = open_study(config, "0" * 64, tuning_space(config), folder)
    Search(config, study, folder, folder / study.name / "trials", None, Silent(), Slow()).run()
    """
)


def test_a_killed_search_goes_on_and_repeats_what_it_was_at(search, trainer, tmp_path) -> None:
    folder = tmp_path / "tuning"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"third\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    study = search(*QUICK, "tuning.trials=6")
    killed = study.found.get_trials()[2]
    assert trainer.trained[0].settings == study.settings(killed)
    assert len(trainer.trained) == 4  # the third again, and the last three
    assert len(study.trials()) == 6
    assert len(set(keys(study))) == 6


def test_two_processes_share_one_study(search, opened, trainer) -> None:
    done = []
    threads = [
        threading.Thread(target=lambda: done.append(search("tuning.trials=6", "training.epochs=2")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 2
    tried = keys(done[0])
    assert len(tried) == len(set(tried)) == len(trainer.trained) == 6


def test_the_study_is_another_for_other_data_and_other_spaces(opened) -> None:
    names = {
        opened(*settings)[1].name
        for settings in (
            (SPACE,),
            (SPACE, "training.batch_size=8"),
            (SPACE, "tuning.sampler=random"),
            ("tuning.learning_rate=[1e-4, 1e-2]",),
        )
    }
    assert len(names) == 4
    # What is searched may change, as may the budget.
    assert opened(SPACE, "tuning.trials=3")[1].name == opened(SPACE)[1].name


def test_a_seed_that_only_training_takes_is_no_obstacle(search) -> None:
    study = search("training.seed=10000000000000", "tuning.trials=3", "tuning.parallel=1")
    assert len(study.trials()) == 3
