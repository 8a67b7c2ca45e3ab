"""From the data set to pixloop.yaml, with a trainer whose scores are known, and a real one."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.conftest import QUICK, write_colours
from tests.tuning.conftest import Trainer, make_config

from pixloop.config_file import parse_config
from pixloop.data.dataset import Dataset
from pixloop.errors import ConfigError, PipelineError, TrainingError
from pixloop.pipeline.definition import build_definition
from pixloop.pipeline.display import Silent
from pixloop.tuning.listener import Silent as SilentSearch
from pixloop.tuning.trial import Ended, Training, train_apart
from pixloop.tuning.tune import Tuning
from pixloop.tuning.verdict import Pipeline, weigh

SETTINGS = (
    "tuning.space={training.weight_decay: {low: 0.0, high: 1.0}}",
    "tuning.parallel=1",
    "training.epochs=3",
)


def shown():
    return nullcontext(Silent())


def followed():
    return nullcontext(SilentSearch())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("pictures") / "colours", 20)


@pytest.fixture
def tuning(pictures: Path, tmp_path: Path, trainer: Trainer):
    def make(*settings: str, train=trainer) -> Tuning:
        config = parse_config(
            {"task": "classification", "data": str(pictures), "name": "colours", **QUICK},
            ("data.test_share=0.4", *settings),
        )
        address = pictures.as_uri()

        def define(config):
            return build_definition(config, train=address, test=address)

        return Tuning(config, tmp_path / ".pixloop", define, None, train)

    return make


def test_where_the_current_settings_are_best_nothing_is_trained_in_full(tuning) -> None:
    result = tuning(*SETTINGS, "tuning.trials=5", "training.weight_decay=0.8").run(shown, followed)
    assert not result.found_better
    assert result.verdict is None
    assert result.changes == {}
    page = Path(result.report).read_text()
    assert "Nothing better was found" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_report_before_a_search_says_what_to_do(tuning) -> None:
    with pytest.raises(PipelineError, match="'pixloop tune' makes it"):
        tuning(*SETTINGS).report(shown)


def test_settings_that_were_not_searched_get_the_report_of_the_latest_search(tuning) -> None:
    earlier = tuning(*SETTINGS, "tuning.trials=3", "training.weight_decay=0.8")
    earlier_result = earlier.run(shown, followed)
    for file in (earlier.state / "tuning").glob("*/result.json"):
        os.utime(file, (0, 0))
    latest = tuning(
        *SETTINGS, "tuning.trials=2", "training.weight_decay=0.8", "training.batch_size=8"
    ).run(shown, followed)
    assert latest.of_present
    assert latest.study != earlier_result.study
    told = tuning(*SETTINGS, "training.batch_size=9").report(shown)
    assert told == latest.model_copy(update={"of_present": False})
    assert earlier.report(shown) == earlier_result  # its own, where there is one


def test_an_unknown_model_among_the_choices_is_found_before_anything_is_trained(
    tuning, trainer
) -> None:
    with pytest.raises(ConfigError, match="resnet1888"):
        tuning("tuning.models=[resnet1888]").run(shown, followed)
    assert trainer.trained == []


def test_where_every_trial_fails_it_says_why(tuning) -> None:
    def train(*_: object) -> Ended:
        return Ended("failed", "no such weights")

    with pytest.raises(TrainingError, match="no such weights"):
        tuning(*SETTINGS, "tuning.trials=2", train=train).run(shown, followed)


def test_the_verdict_says_better_only_where_it_is_shown() -> None:
    import numpy as np

    config = make_config()
    current = np.array([1.0] * 80 + [0.0] * 20)
    much = np.array([1.0] * 97 + [0.0] * 3)
    little = np.array([1.0] * 81 + [0.0] * 19)
    assert weigh(much, current, config).better
    assert "are better than the current ones on the 100 test" in weigh(much, current, config).words
    verdict = weigh(little, current, config)
    assert not verdict.better
    assert "not shown to be better" in verdict.words
    assert "are worse" in weigh(current, much, config).words


@pytest.fixture(scope="module")
def dataset(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose test pictures cannot be read."""
    from pixloop.data.prepare import prepare

    folder = tmp_path_factory.mktemp("prepared")
    config = parse_config({"task": "classification", "data": str(pictures)})
    prepare(config.data, pictures, None, folder / "dataset", folder / "work", "classification")
    shards = list((folder / "dataset" / "test").iterdir())
    assert shards
    for shard in shards:
        shard.write_bytes(b"none of a trial's business")
    return folder / "dataset"


def train_really(dataset: Path, folder: Path, on_epoch, *settings: str) -> Ended:
    config = parse_config({"task": "classification", "data": "p", **QUICK}, settings)
    training = Training(config, dataset, folder, None, 1, {"training.optimizer": "adamw"})
    return train_apart(training, on_epoch, threading.Event())


@pytest.mark.slow
def test_a_trial_reports_epochs_without_the_test_pictures_and_is_in_tensorboard(
    dataset: Path, tmp_path: Path
) -> None:
    scores: dict[int, float] = {}

    def on_epoch(epoch: int, score: float) -> bool:
        scores[epoch] = score
        return True

    assert train_really(dataset, tmp_path / "a", on_epoch).how == "done"
    assert list(scores) == [1, 2, 3, 4]
    assert 0 <= max(scores.values()) <= 1
    events = EventAccumulator(str(tmp_path / "a" / "tensorboard"))
    events.Reload()
    assert events.Scalars("best/validation")[0].value == pytest.approx(max(scores.values()))
    assert "hparams" in events.Tags()["tensors"] or "_hparams_/session_start_info" in str(
        events.summary_metadata
    )
    with pytest.raises(Exception, match=r"[Pp]arquet"):
        Dataset.open(dataset).split("test").read(0)


@pytest.mark.slow
def test_a_stopped_trial_ends_and_goes_on_when_it_is_tried_again(
    dataset: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    def until_two(epoch: int, score: float) -> bool:
        seen.append(epoch)
        return epoch < 2

    assert train_really(dataset, tmp_path / "a", until_two).how == "stopped"
    assert seen == [1, 2]
    seen.clear()

    def on(epoch: int, score: float) -> bool:
        seen.append(epoch)
        return True

    assert train_really(dataset, tmp_path / "a", on).how == "done"
    assert seen == [1, 2, 3, 4]
    log = (tmp_path / "a" / "log.txt").read_text()
    assert "traceback" not in log.lower()


#: A network that cannot have more than eight pictures at once, in every process of a trial.
TIGHT = textwrap.dedent(
    """
    import torch
    from pixloop.training.classifier import Classifier
    loss = Classifier.loss
    def tight(self, batch):
        if len(batch[0]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return loss(self, batch)
    Classifier.loss = tight
    """
)
TRIAL = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from tests.tuning.test_tune import train_really
    from pixloop.tuning import trial
    trial._PRELOADED = ("tight",)
    dataset, folder, wanted = sys.argv[1:]
    ended = train_really(Path(dataset), Path(folder), lambda *_: True, wanted)
    print(ended.how, ended.reason)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["split", "stop"])
def test_a_trial_that_runs_out_of_memory_begins_again_where_that_is_wanted(
    dataset: Path, tmp_path: Path, wanted: str
) -> None:
    (tmp_path / "tight.py").write_text(TIGHT)
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
    arguments = [str(dataset), str(tmp_path / "a"), f"training.out_of_memory={wanted}"]
    ended = subprocess.run(
        [sys.executable, "-c", TRIAL, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    if wanted == "stop":
        assert ended.stdout.startswith("failed Memory ran out")
        return
    assert ended.stdout == "done \n"
    summary = json.loads((tmp_path / "a" / "model" / "training.json").read_text())
    assert summary["batch_parts"] == 2
    assert (tmp_path / "a" / "log.txt").read_text().count("From the next start on it takes 2") == 1


@pytest.mark.slow
def test_a_trial_that_cannot_be_trained_says_why(dataset: Path, tmp_path: Path) -> None:
    ended = train_really(dataset, tmp_path / "a", lambda *_: True, "model.name=resnet1888")
    assert ended.how == "failed"
    assert "resnet1888" in ended.reason


@pytest.mark.slow
def test_a_search_ends_with_a_verdict_and_the_next_run_has_the_winner(tuning, tmp_path) -> None:
    settings = (
        "tuning.space={training.learning_rate: {low: 0.000001, high: 0.01, log: true}}",
        "training.learning_rate=0.000001",
        "training.epochs=6",
        "tuning.parallel=2",
        "tuning.trials=4",
    )
    search = tuning(*settings, train=train_apart)
    result = search.run(shown, followed)
    assert result.found_better
    assert result.verdict is not None
    assert result.verdict["pictures"] == 15
    again = search.run(shown, followed)  # the budget is spent, and the test pictures were asked
    assert again.verdict == result.verdict
    assert search.report(shown).best == result.best
    from pixloop.pipeline.search_space import with_settings

    bundle = Pipeline(search.define, search.state, None).bundle(
        with_settings(search.config, result.best)
    )
    assert (bundle / "bundle").is_dir()
