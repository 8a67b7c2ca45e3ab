import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.pipeline.folders import Folders
from tests.without_studies import NO_STUDIES_SET

from pixloop.bundle import Bundle
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.data.dataset import Dataset, DatasetWriter, Row
from pixloop.errors import PipelineError
from pixloop.files import write_json
from pixloop.pipeline import steps
from pixloop.pipeline.definition import build_definition
from pixloop.pipeline.local import run_local
from pixloop.pipeline.runs import RunRecord, list_runs


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /opt/ml, and no engine that could be gone."""
    monkeypatch.setenv("PIXLOOP_ML", str(tmp_path))
    monkeypatch.delenv("PIXLOOP_PARENT", raising=False)
    return tmp_path


def make_pictures(folder: Path, each: int = 12) -> Path:
    """Three classes, told apart by their brightness."""
    rng = np.random.default_rng(0)
    for name, brightness in (("dark", 50), ("grey", 125), ("light", 200)):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.normal(brightness, 25, (24, 24, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def prepare_job(root: Path, train: str, test: str) -> None:
    inputs = {"train": train, "test": test}
    request = [
        {"InputName": n, "S3Input": {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/input/{n}"}}
        for n, uri in inputs.items()
    ]
    write_json(root / "config" / "processingjobconfig.json", {"ProcessingInputs": request})
    for name, uri in inputs.items():
        source = Path(uri.removeprefix("file://"))
        place = root / "processing" / "input" / name
        if source.is_file():
            place.mkdir(parents=True)
            place = place / source.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source)


def test_a_prepared_data_set_is_taken_over_with_the_settings_that_made_it(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = tmp_path_factory.mktemp("made")
    writer = DatasetWriter(made, ("dark", "light"))
    for label in (0, 1):
        writer.add("train", Row(b"x", f"{label}.png", label, 1, 1, f"{label}" * 64))
    info = writer.finish()
    prepare_job(root, made.as_uri(), made.as_uri())
    output = root / "processing" / "output" / "dataset"
    assert steps.main(["step", "prepare", "--set", "data.test_share=0.5"]) == 0
    assert Dataset.open(output).info == info
    assert json.loads((output / "settings.json").read_text()) == {"task": "classification"}
    write_json(made / "settings.json", {"data.test_share": 0.25})
    assert steps.main(["step", "prepare", "--set", "data.test_share=0.5"]) == 0
    assert json.loads((output / "settings.json").read_text()) == {"data.test_share": 0.25}
    assert steps.main(["step", "prepare", "--set", "task=detection"]) == 1
    assert "is a data set for classification" in (root / "output" / "failure").read_text()


# ---- Commands


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "expected 'train', or 'step' and one of inspect, prepare, export, evaluate"),
        (["step", "bake"], "'step bake': expected"),
        (["step", "export", "--set"], "'--set' has no value"),
        (["step", "export", "--get", "x=1"], "'--get': expected --set"),
        (["step", "export", "--set", "exports.formats=[]"], "Did you mean 'export.formats'?"),
        (["train"], "hyperparameters.json is missing"),
    ],
)
def test_a_wrong_command_fails_and_says_why(
    root: Path, argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert steps.main(argv) > 0
    assert says in (root / "output" / "failure").read_text()
    assert says in capsys.readouterr().err


def test_an_unexpected_error_leaves_its_trace_in_the_log(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(*_: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(steps, "STEPS", {"prepare": break_down})
    assert steps.main(["step", "prepare"]) == 1
    assert (root / "output" / "failure").read_text() == "ZeroDivisionError: a defect"
    assert "Traceback" in capsys.readouterr().err


def test_settings_come_together_again() -> None:
    arguments = ["--set", "a=1", "--more", "23", "--more", "--set", "--set", "b=2"]
    assert steps.read_settings(arguments) == ["a=123--set", "b=2"]
    with pytest.raises(PipelineError, match="--more"):
        steps.read_settings(["--more", "1"])


def test_starting_the_container_needs_no_torch(root: Path) -> None:
    program = "import sys, pixloop.pipeline.steps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("model", ["resnet18", '"resnet18"'])
@pytest.mark.parametrize("rate", ["0.0003", "3.0E-4", "3E-4", "3e-04"])
def test_what_a_search_chose_is_read_with_and_without_quotes(
    root: Path, monkeypatch: pytest.MonkeyPatch, model: str, rate: str
) -> None:
    told: list[Config] = []
    monkeypatch.setattr(steps, "train", lambda config, *_: told.append(config))
    chosen = {"model.name": model, "training.learning_rate": rate, "_tuning_objective_metric": "x"}
    write_json(root / "input/config/hyperparameters.json", chosen)
    assert steps.main(["train"]) == 0
    assert (told[0].model.name, told[0].training.learning_rate) == ("resnet18", 3e-4)


# ---- Prepare


def counts(root: Path) -> dict[str, int]:
    info = json.loads((root / "processing/output/dataset/dataset.json").read_text())
    return {split: sum(by_class.values()) for split, by_class in info["counts"].items()}


def test_one_address_for_both_means_that_the_test_is_held_out(root: Path) -> None:
    address = make_pictures(root / "pictures").as_uri()
    prepare_job(root, address, address)
    assert steps.main(["step", "prepare", "--set", "data.test_share=0.25"]) == 0
    found = counts(root)
    assert 0 < found["test"] < sum(found.values()) == 36


def test_test_pictures_elsewhere_are_all_for_the_test(root: Path) -> None:
    train, test = make_pictures(root / "a", 8), root / "b"
    for name in ("dark", "grey", "light"):
        (test / name).mkdir(parents=True)
        (train / name / "0.png").rename(test / name / "x.png")
    prepare_job(root, train.as_uri(), test.as_uri())
    assert steps.main(["step", "prepare"]) == 0
    assert counts(root)["test"] == 3


def test_a_label_file_finds_the_pictures_beside_it(root: Path) -> None:
    pictures = make_pictures(root / "pictures", 8)
    rows = [f"{p.relative_to(pictures)},{p.parent.name}" for p in pictures.rglob("*.png")]
    (pictures / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    address = (pictures / "labels.csv").as_uri()
    prepare_job(root, address, address)
    assert steps.main(["step", "prepare"]) == 0
    assert sum(counts(root).values()) == 24


# ---- The whole pipeline


def small(pictures: Path, *overrides: str) -> Config:
    settings = [
        "name=small",
        "model.name=mobilenetv3_small_050",
        "model.pretrained=false",
        "model.image_size=32",
        "training.epochs=2",
        "training.batch_size=8",
        "training.workers=0",
        "export.formats=[onnx]",
        "gate.minimum=0",
        "monitoring.odds_pictures=0",
        *NO_STUDIES_SET,
        *overrides,
    ]
    return parse_config({"task": "classification", "data": str(pictures)}, settings)


def metrics(state: Path, record: RunRecord) -> dict[str, float]:
    folder = state / str(record.steps["Evaluate"].folder) / "ml/processing/output/evaluation"
    found = json.loads((folder / "evaluation.json").read_text())["pixloop"]["metrics"]
    return dict(found)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_in_every_step_changes_no_metric(tmp_path: Path, start_run: Any) -> None:
    pictures = make_pictures(tmp_path / "pictures")
    definition = build_definition(small(pictures), train=pictures.as_uri(), commit="0123abc")
    whole = tmp_path / "whole"
    expected = metrics(whole, run_local(definition, whole, register=lambda _: {}))

    state = tmp_path / "killed"
    for step in ("Prepare", "Train", "Export", "Evaluate"):
        process = start_run(definition, state)
        while not running(state, step):
            assert process.poll() is None
        process.kill()
        process.wait()
    asked: list[Any] = []
    record = run_local(definition, state, register=lambda a: asked.append(a) or {})
    assert [record.steps[name].status for name in ("Prepare", "Train", "Export")] == ["cached"] * 3
    assert metrics(state, record) == expected

    container = asked[0]["InferenceSpecification"]["Containers"][0]
    archive = Path(container["ModelDataUrl"].removeprefix("file://"))
    bundle = Bundle.open(archive, unpack_to=tmp_path / "unpacked")
    bundle.verify()
    assert bundle.manifest.lineage["commit"] == "0123abc"
    assert bundle.manifest.lineage["config"]["training.epochs"] == 2
    assert bundle.manifest.lineage["config"]["data.test_share"] == 0.2
    assert bundle.manifest.threshold.pictures > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_loop_over_a_store_finds_no_champion_at_first_and_then_compares_with_it(
    tmp_path: Path,
) -> None:
    store, state = Folders(tmp_path / "store"), tmp_path / "state"
    make_pictures(store.path("s3://pictures/raw/train"))
    (store.path("s3://pictures/champion")).mkdir(parents=True)
    (store.path("s3://pictures/champion") / "none.json").write_text("{}")
    config = small(Path("unused"), "aws.bucket=pictures", "aws.processing_instances=2")
    definition = build_definition(
        config, train="s3://pictures/raw/train", champion="s3://pictures/champion/"
    )
    asked: list[Any] = []

    def go(execution: str, **versions: str) -> dict[str, str]:
        record = run_local(
            definition,
            state,
            versions,
            register=lambda a: asked.append(a) or {},
            places=store,
            execution=execution,
        )
        return {name: step.status for name, step in record.steps.items()}

    def compared(execution: str) -> dict[str, Any]:
        evaluation = store.path(f"s3://pictures/small/evaluation/{execution}") / "evaluation.json"
        return dict(json.loads(evaluation.read_text())["pixloop"]["comparison"])

    assert set(go("e1").values()) == {"done"}
    assert (compared("e1")["champion"], compared("e1")["champion_value"]) == (False, 0.0)
    address = asked[0]["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
    assert address == "s3://pictures/small/bundle/e1/model.tar.gz"

    shutil.copyfile(store.path(address), store.path("s3://pictures/champion") / "model.tar.gz")
    (store.path("s3://pictures/champion") / "none.json").unlink()
    statuses = go("e2", DataVersion="other", ChampionVersion="etag")
    assert {name for name, status in statuses.items() if status == "cached"} == {
        "Inspect",
        "Prepare",
        "Train",
        "Export",
    }
    assert (compared("e2")["champion"], compared("e2")["difference"]) == (True, 0)


def running(state: Path, step: str) -> bool:
    """Whether a step of the newest run is at work."""
    runs = list_runs(state)
    return bool(runs) and runs[0].steps[step].status == "running"
