"""The steps of the pipeline, and the two commands of its container.

::

    python -m pixloop.pipeline.steps train                        a training job
    python -m pixloop.pipeline.steps step NAME --set key=value    a processing job

A step is a plain function from folders to folders. It gets a configuration in which only the keys
that it reads are set (see ``arguments.STEP_KEYS``). Each imports its rooms when it runs: preparing
data needs no torch, which takes seconds to import.
"""

import json
import logging
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixloop.bundle import ARCHIVE
from pixloop.config import Config, flatten
from pixloop.config_file import parse_config
from pixloop.data.shard_cache import FOLDER as SHARD_CACHE
from pixloop.errors import PipelineError, PixloopError
from pixloop.files import unpack, write_json, write_text
from pixloop.pipeline.arguments import NO_COMMIT
from pixloop.pipeline.container import ROOT, Container, die_with_parent, sole_file
from pixloop.pipeline.launch import run_training

if TYPE_CHECKING:
    from pixloop.export.export import Draft
    from pixloop.training.checkpoints import Epoch

SETTINGS = "settings.json"
_TRAINING = "training.json"


def inspect(config: Config, settings: Mapping[str, Any], container: Container) -> None:
    """An instance's share of the pictures as they came → what is in each."""
    from pixloop.data.shared_inspections import inspect_share

    del settings
    folders = [_required(container, "train")]
    if _test_is_separate(container):
        folders.append(_required(container, "test"))
    output = container.output("inspections")
    inspect_share(folders, output, container.work, config.data.max_pixels, container.host())


def prepare(config: Config, settings: Mapping[str, Any], container: Container) -> None:
    """Pictures as they came, or a prepared data set → the data set."""
    from pixloop.data.annotation_lineage import Annotated
    from pixloop.data.dataset import MANIFEST
    from pixloop.data.prepare import prepare as prepare_dataset
    from pixloop.data.prepared import take_over

    output, asked = container.output("dataset"), container.input("annotations")
    # Resolved, so that messages name the user's folder and not the link to it.
    train, test = (_source(container, name).resolve() for name in ("train", "test"))
    separate = test if _test_is_separate(container) else None
    if (train / MANIFEST).is_file():
        take_over(config.data, train, separate, output, config.task, asked)
        if not (output / SETTINGS).exists():  # else it says how the data set was prepared
            write_json(output / SETTINGS, {"task": config.task})
        return
    prepare_dataset(
        config.data,
        train,
        separate,
        output,
        container.work,
        config.task,
        container.input("inspections"),
        Annotated(asked, config.annotation) if asked else None,
    )
    write_json(output / SETTINGS, settings)


def train(config: Config, settings: Mapping[str, Any], container: Container) -> None:
    """The data set → a trained model."""
    from pixloop.training.distributed import rank
    from pixloop.training.train import train as train_model

    dataset, weights = container.channel("dataset"), container.channel("weights")
    if dataset is None:
        raise PipelineError("The training job has no channel 'dataset'.")
    file = sole_file(weights) if weights else None
    if weights and file is None:
        raise PipelineError(f"The channel 'weights' must hold one file; {weights} does not.")
    train_model(
        config,
        dataset,
        container.model,
        container.checkpoints,
        container.tensorboard,
        file,
        _note_epochs(container.epochs) if rank() == 0 else None,
    )
    # SageMaker packs the model folders of all hosts into one archive, where names must not clash
    # (Developer Guide, "How Amazon SageMaker AI Processes Training Output").
    if rank() == 0:
        write_json(container.model / SETTINGS, settings)


def export(config: Config, settings: Mapping[str, Any], container: Container) -> None:
    """A trained model → the bundle, calibrated, with its archive beside it."""
    from pixloop.export.export import write_graphs
    from pixloop.pipeline.calibration import seal_calibrated

    dataset, output = _required(container, "dataset"), container.output("bundle")
    model = container.work / "model"
    unpack(_required(container, "model") / ARCHIVE, model)
    draft = write_graphs(config, model, dataset, output / "bundle")
    told = [_read_json(dataset / SETTINGS), _read_json(model / SETTINGS), settings]
    draft = _with_lineage(draft, {key: value for part in told for key, value in part.items()})
    annotations = _read_json(dataset / "dataset.json").get("annotations")
    if annotations:
        draft = _told_of(draft, {"annotations": annotations})
    sealed = seal_calibrated(config, draft, dataset)
    (sealed.path / ARCHIVE).replace(output / ARCHIVE)
    if (model / _TRAINING).exists():
        shutil.copyfile(model / _TRAINING, output / _TRAINING)


def evaluate(config: Config, settings: Mapping[str, Any], container: Container) -> None:
    """The bundle → what it scores on the test pictures, and the report."""
    from pixloop.evaluation.evaluate import evaluate as evaluate_bundle

    del settings
    bundle = _required(container, "bundle")
    training = bundle / _TRAINING
    champion = container.input("champion")
    evaluate_bundle(
        config,
        bundle,
        _required(container, "dataset"),
        container.output("evaluation"),
        champion,
        training if training.exists() else None,
    )


Step = Callable[[Config, Mapping[str, Any], Container], None]
STEPS: Mapping[str, Step] = {
    "inspect": inspect,
    "prepare": prepare,
    "export": export,
    "evaluate": evaluate,
}


def main(argv: Sequence[str]) -> int:
    """Run a command of the container; the answer is its exit code."""
    die_with_parent()
    if os.getpid() == 1:
        # The first process of a container ignores what it has no handler for; a job that is
        # stopped, or a spot instance that is taken back, would go on until it is killed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    container = Container()
    if container.root == Path(ROOT):
        # On SageMaker the disk that a job asks for is mounted there; the home is on a small one.
        os.environ.setdefault(SHARD_CACHE, str(container.work / "shards"))
    try:
        _dispatch(argv, container)
    except PixloopError as e:
        return _failed(container, str(e), e.exit_code)
    except Exception as e:
        traceback.print_exc()
        return _failed(container, f"{type(e).__name__}: {e}", 1)
    return 0


def read_settings(arguments: Sequence[str]) -> list[str]:
    """The ``key=value`` in a command's ``--set``, each put together with its ``--more``.

    >>> read_settings(["--set", "name=a-long", "--more", "-name"])
    ['name=a-long-name']

    Raises:
        PipelineError: there is something else.
    """
    settings: list[str] = []
    for option, text in _pairs(arguments):
        if option == "--set":
            settings.append(text)
        elif option == "--more" and settings:
            settings[-1] += text
        else:
            raise PipelineError(f"{option!r}: expected --set key=value or --more text.")
    return settings


def _dispatch(argv: Sequence[str], container: Container) -> None:
    match argv:
        case ["train"]:
            values = container.hyperparameters()
            settings = [f"{key}={value}" for key, value in values.items()]
            config = _parse(settings)
            run_training(
                lambda: train(config, _told(config, settings), container),
                container,
                begins_again=config.training.out_of_memory == "split",
            )
        case ["step", name, *arguments] if name in STEPS:
            _run(STEPS[name], read_settings(arguments), container)
        case _:
            raise PipelineError(
                f"{' '.join(argv)!r}: expected 'train', or 'step' and one of {', '.join(STEPS)}."
            )


def _run(step: Step, overrides: Sequence[str], container: Container) -> None:
    config = _parse(overrides)
    step(config, _told(config, overrides), container)


def _parse(overrides: Sequence[str]) -> Config:
    # The two keys without a default: a step knows its data as folders.
    raw = {"task": "classification", "data": {"train": "."}}
    return parse_config(raw, overrides, where="the step's settings")


def _told(config: Config, overrides: Sequence[str]) -> dict[str, Any]:
    """The settings that a step was given, checked: key → value."""
    flat = flatten(config)
    return {key: flat[key] for key in (text.partition("=")[0] for text in overrides)}


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    if len(arguments) % 2:
        raise PipelineError(f"{arguments[-1]!r} has no value.")
    yield from zip(arguments[::2], arguments[1::2], strict=True)


def _with_lineage(draft: "Draft", config: Mapping[str, Any]) -> "Draft":
    commit = os.environ.get("PIXLOOP_COMMIT", NO_COMMIT)
    lineage = {
        "config": dict(config),
        "commit": None if commit == NO_COMMIT else commit,
        "seed": config.get("training.seed"),
    }
    return _told_of(draft, lineage)


def _told_of(draft: "Draft", more: Mapping[str, Any]) -> "Draft":
    lineage = {**draft.manifest.lineage, **more}
    return replace(draft, manifest=draft.manifest.model_copy(update={"lineage": lineage}))


def _test_is_separate(container: Container) -> bool:
    """Whether the test pictures are at an address of their own."""
    return container.input_address("test") != container.input_address("train")


def _source(container: Container, name: str) -> Path:
    """An input that is a folder, or one label file."""
    folder = _required(container, name)
    return sole_file(folder) or folder


def _note_epochs(file: Path) -> "Callable[[Epoch], None]":
    """What writes down each epoch as it ends, a line of JSON each, for whoever looks on."""
    lines: list[str] = []

    def note(epoch: "Epoch") -> None:
        lines.append(epoch.model_dump_json() + "\n")
        write_text(file, "".join(lines))

    return note


def _required(container: Container, name: str) -> Path:
    folder = container.input(name)
    if folder is None:
        raise PipelineError(f"The job has no input {name!r}.")
    return folder


def _read_json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _failed(container: Container, reason: str, code: int) -> int:
    print(reason, file=sys.stderr, flush=True)
    container.fail(reason)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
