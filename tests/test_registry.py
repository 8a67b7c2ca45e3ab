"""Model versions, on SQLite (one database for all tests: MLflow takes seconds to make one)."""

import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixloop.bundle import Bundle, Graph, Manifest, Threshold, now, write_bundle
from pixloop.errors import BundleError, RegistryError
from pixloop.imaging import Preprocessing
from pixloop.registry import Registry

Submit = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("registry") / "registry.db"
    Registry(f"sqlite:///{file}", "unused").prepare()
    return file


@pytest.fixture
def registry(database: Path) -> Registry:
    """A model of its own in the shared database."""
    return Registry(f"sqlite:///{database}", f"m-{uuid.uuid4()}", database.parent / "artifacts")


@pytest.fixture
def submit(tmp_path: Path) -> Submit:
    return lambda **scores: make_model(tmp_path / str(uuid.uuid4()), **scores)


def make_model(folder: Path, accuracy: float = 0.9, seed: int = 0) -> tuple[Path, Path]:
    """A bundle and its evaluation, as the pipeline would leave them."""
    bundle, evaluation = folder / "bundle", folder / "evaluation" / "evaluation.json"
    (bundle / "graphs").mkdir(parents=True)
    (bundle / "graphs" / "model.onnx").write_bytes(folder.name.encode())
    (bundle / "model.tar.gz").write_bytes(b"the same again")
    write_bundle(
        bundle,
        Manifest(
            name="m",
            created=now(),
            classes=("cat", "dog"),
            preprocessing=Preprocessing(image_size=32),
            graphs=(Graph(format="onnx", file="graphs/model.onnx"),),
            chosen_graph="onnx",
            temperature=1.0,
            threshold=Threshold(
                score=None, max_error=0.1, confidence=0.9, accepted_share=0, error=None, pictures=0
            ),
            lineage={"seed": seed, "config": {"training.epochs": 3, "model.name": "x"}},
            versions={},
        ),
    )
    metrics = {"accuracy": accuracy, "f1_macro": accuracy - 0.01, "ece_after": 0.02}
    evaluation.parent.mkdir()
    evaluation.write_text(json.dumps({"pixloop": {"metrics": metrics}}))
    evaluation.with_name("report.html").write_text("<h1>report</h1>")
    evaluation.with_name("model_card.html").write_text("<h1>card</h1>")
    return bundle, evaluation


def several(registry: Registry, submit: Submit, count: int) -> None:
    for n in range(count):
        registry.register(*submit(accuracy=0.9 + n / 100))


# ---- Registering


def test_a_version_says_what_it_is(registry: Registry, submit: Submit) -> None:
    made = registry.register(*submit(accuracy=0.93, seed=5), lineage={"execution": "run-1"})
    assert made == registry.show("latest") == registry.show("1")
    assert (made.version, made.status, made.champion) == ("1", "pending", False)
    assert made.metrics == {"accuracy": 0.93, "f1_macro": 0.92, "ece_after": 0.02}
    assert made.chosen_graph == "onnx"
    assert made.lineage["seed"] == 5
    assert made.lineage["execution"] == "run-1"
    assert json.loads(made.model_dump_json())["created"].endswith("+00:00")


def test_the_report_and_the_parameters_are_kept(registry: Registry, submit: Submit) -> None:
    made = registry.register(*submit())
    report = Path(made.report.removeprefix("file://"))
    assert {file.name for file in report.iterdir()} == {
        "evaluation.json", "report.html", "model_card.html"
    }  # fmt: skip
    run = registry._client.get_run(made.run)
    assert run.data.params["training.epochs"] == "3"
    assert run.data.metrics["accuracy"] == 0.9
    assert run.info.status == "FINISHED"


def test_a_bundle_is_registered_once(registry: Registry, submit: Submit) -> None:
    model = submit()
    first = registry.register(*model)
    assert registry.register(*model) == first
    assert len(registry.list()) == 1


def test_a_kill_between_the_run_and_the_version_costs_nothing(
    registry: Registry, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    model = submit()
    with monkeypatch.context() as patched:
        patched.setattr(registry._client, "create_model_version", kill)
        with pytest.raises(Killed):
            registry.register(*model)
    made = registry.register(*model)
    assert made.version == "1"
    runs = registry._client.search_runs(
        [registry._client.get_experiment_by_name(registry.model).experiment_id]
    )
    assert [run.info.run_id for run in runs] == [made.run]


def test_a_damaged_bundle_is_not_registered(registry: Registry, submit: Submit) -> None:
    bundle, evaluation = submit()
    (bundle / "graphs" / "model.onnx").write_text("other")
    with pytest.raises(BundleError, match=r"graphs/model\.onnx"):
        registry.register(bundle, evaluation)
    assert registry.list() == []


@pytest.mark.parametrize("content", ["", "{}", '{"pixloop": {"metrics": {"accuracy": "high"}}}'])
def test_an_evaluation_that_cannot_be_read_is_named(
    registry: Registry, submit: Submit, content: str
) -> None:
    bundle, evaluation = submit()
    evaluation.write_text(content)
    with pytest.raises(RegistryError, match=r"evaluation\.json is no evaluation"):
        registry.register(bundle, evaluation)


# ---- Finding


def test_versions_are_listed_newest_first(registry: Registry, submit: Submit) -> None:
    assert registry.list() == []
    several(registry, submit, 3)
    assert [each.version for each in registry.list()] == ["3", "2", "1"]


def test_what_is_not_there_is_explained(registry: Registry, submit: Submit) -> None:
    with pytest.raises(RegistryError, match="has no versions yet"):
        registry.show("latest")
    several(registry, submit, 2)
    with pytest.raises(RegistryError, match=r"no version '9'\. It has 2, 1"):
        registry.show("9")
    with pytest.raises(RegistryError, match="has no champion"):
        registry.show("champion")


def test_asking_makes_no_database(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path}/none/registry.db", "m", tmp_path)
    assert registry.list() == []
    assert list(tmp_path.iterdir()) == []


def test_versions_are_compared(registry: Registry, submit: Submit) -> None:
    several(registry, submit, 2)
    comparison = registry.compare("1", "latest")
    assert (comparison.a, comparison.b) == ("1", "2")
    assert comparison.metrics["accuracy"].difference == pytest.approx(0.01)


# ---- Deciding


def test_the_version_approved_last_is_the_champion(registry: Registry, submit: Submit) -> None:
    several(registry, submit, 2)
    assert registry.approve("1").champion
    assert registry.approve("2").champion
    assert [(v.version, v.status, v.champion) for v in registry.list()] == [
        ("2", "approved", True),
        ("1", "approved", False),
    ]


def test_rolling_back_goes_back_step_by_step(registry: Registry, submit: Submit) -> None:
    several(registry, submit, 3)
    for version in ("1", "2", "1", "3"):
        registry.approve(version)
    registry.approve("3")  # once more changes nothing
    assert [registry.rollback().version for _ in range(3)] == ["1", "2", "1"]
    with pytest.raises(RegistryError, match="no champion before version 1"):
        registry.rollback()
    assert registry.show("champion").version == "1"


def test_since_when_a_version_is_the_champion(
    registry: Registry, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    several(registry, submit, 2)
    assert registry.show("1").champion_since == ""
    times = iter(["then", "later", "now"])
    monkeypatch.setattr("pixloop.registry.now", lambda: next(times))
    assert registry.approve("1").champion_since == "then"
    assert registry.approve("1").champion_since == "then"
    assert registry.approve("2").champion_since == "later"
    assert registry.rollback().champion_since == "now"


def test_rolling_back_passes_over_what_was_rejected(registry: Registry, submit: Submit) -> None:
    several(registry, submit, 3)
    for version in ("1", "2", "3"):
        registry.approve(version)
    registry.reject("2", "wrong on snow")
    assert registry.rollback().version == "1"


def test_rolling_back_does_not_stop_at_the_version_that_serves(
    registry: Registry, submit: Submit
) -> None:
    several(registry, submit, 3)
    for version in ("1", "2", "3", "2"):
        registry.approve(version)
    registry.reject("3")
    assert registry.rollback().version == "1"


def test_an_alias_that_was_moved_elsewhere_is_followed(registry: Registry, submit: Submit) -> None:
    several(registry, submit, 3)
    registry.approve("1")
    registry.approve("2")
    registry._client.set_registered_model_alias(registry.model, "champion", "3")
    assert registry.rollback().version == "2"
    assert registry.rollback().version == "1"


def test_a_rejected_version_keeps_the_reason(registry: Registry, submit: Submit) -> None:
    several(registry, submit, 1)
    rejected = registry.reject("1", "wrong on snow")
    assert (rejected.status, rejected.reason) == ("rejected", "wrong on snow")
    assert registry.approve("1").reason == ""


def test_the_champion_cannot_be_rejected(registry: Registry, submit: Submit) -> None:
    several(registry, submit, 1)
    registry.approve("1")
    with pytest.raises(RegistryError, match="Version 1 is the champion"):
        registry.reject("1")
    assert registry.show("1").status == "approved"


# ---- Bundles


def test_the_bundle_comes_back_as_it_was(
    registry: Registry, submit: Submit, tmp_path: Path
) -> None:
    bundle, evaluation = submit()
    registry.register(bundle, evaluation)
    shutil.rmtree(bundle.parent)
    got = registry.bundle("latest", tmp_path / "got")
    assert got.graph_path().read_bytes() == bundle.parent.name.encode()
    assert not (tmp_path / "got" / "model.tar.gz").exists()


def test_a_bundle_that_is_there_is_not_fetched_again(
    registry: Registry, submit: Submit, tmp_path: Path
) -> None:
    registry.register(*submit())
    first = registry.bundle("1", tmp_path / "got").graph_path().stat()
    again = registry.bundle("1", tmp_path / "got").graph_path().stat()
    assert (first.st_ino, first.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)


def test_another_bundle_in_the_folder_is_replaced(
    registry: Registry, submit: Submit, tmp_path: Path
) -> None:
    several(registry, submit, 2)
    registry.bundle("1", tmp_path / "got")
    got = registry.bundle("2", tmp_path / "got")
    assert Bundle.open(got.path).manifest.lineage == registry.show("2").lineage
    assert [entry.name for entry in tmp_path.glob(".bundle-*")] == []


def test_a_bundle_that_was_tampered_with_is_refused(
    registry: Registry, submit: Submit, tmp_path: Path
) -> None:
    made = registry.register(*submit())
    stored = Path(made.bundle.removeprefix("file://"))
    (stored / "graphs" / "model.onnx").write_text("other")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        registry.bundle("1", tmp_path / "a")
    (stored / "bundle.json").write_text("{}")
    with pytest.raises(BundleError, match="not the bundle that was registered"):
        registry.bundle("1", tmp_path / "b")


def test_a_project_that_moves_takes_its_bundles_along(
    registry: Registry, submit: Submit, tmp_path: Path, database: Path
) -> None:
    assert registry.artifacts
    registry.register(*submit())
    shutil.copytree(database.parent, tmp_path / "moved")
    moved = Registry(
        f"sqlite:///{tmp_path}/moved/registry.db", registry.model, tmp_path / "moved" / "artifacts"
    )
    hidden = registry.artifacts.rename(tmp_path / "hidden")
    try:
        assert moved.bundle("1", tmp_path / "got").manifest.name == "m"
        second = moved.register(*submit())
        assert str(tmp_path / "moved" / "artifacts") in second.bundle
        assert not registry.artifacts.exists()
    finally:
        hidden.rename(registry.artifacts)


# ---- Registries that are not there


def test_a_server_that_is_not_there_is_named_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", f"postgresql://ann:secret@127.0.0.1:{port}/models"):
        with pytest.raises(RegistryError, match=f"127.0.0.1:{port}.* cannot be reached") as e:
            Registry(url, "m").list()
        assert "secret" not in str(e.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_text("no database, whatever its name says\n" * 100)
    with pytest.raises(RegistryError, match=r"registry\.db"):
        Registry(f"sqlite:///{tmp_path}/registry.db", "m").list()


def test_naming_the_classes_does_not_import_mlflow() -> None:
    program = "import sys, pixloop.registry; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# ---- PostgreSQL


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL of our own, as a user that is not root."""
    binaries = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which("initdb") or next((str(b / "initdb") for b in binaries), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg2", reason="the extra 'postgres' is not installed")
    folder = tmp_path_factory.mktemp("postgresql")
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no runuser")
        shutil.chown(folder, "nobody")
        for parent in (folder, *folder.parents[:3]):
            parent.chmod(parent.stat().st_mode | 0o711)
        prefix = ["runuser", "-u", "nobody", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tools = Path(found).resolve().parent
    data, log = folder / "data", folder / "log"
    options = f"-p {port} -h 127.0.0.1 -k {folder}"

    def run(tool: str, *arguments: str) -> None:
        command = [*prefix, str(tools / tool), "-D", str(data), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    run("initdb", "-U", "pixloop", "-A", "trust", "--no-sync")
    run("pg_ctl", "-w", "-l", str(log), "-o", options, "start")
    try:
        yield f"postgresql://pixloop@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-m", "immediate", "stop")


@pytest.mark.integration
def test_the_registry_works_on_postgresql(postgresql: str, submit: Submit, tmp_path: Path) -> None:
    registry = Registry(postgresql, "m", tmp_path / "artifacts")
    assert registry.list() == []
    several(registry, submit, 3)
    for version in ("1", "2", "3"):
        registry.approve(version)
    registry.reject("2")
    assert registry.rollback().version == "1"
    again = Registry(postgresql, "m", tmp_path / "artifacts")
    assert [(v.version, v.status, v.champion) for v in again.list()] == [
        ("3", "approved", False),
        ("2", "rejected", False),
        ("1", "approved", True),
    ]
    assert again.bundle("champion", tmp_path / "got").manifest.name == "m"


@pytest.mark.integration
def test_a_database_that_does_not_let_us_in_is_named_at_once(postgresql: str) -> None:
    with pytest.raises(RegistryError, match=r"does not let us in.*nowhere"):
        Registry(postgresql.replace("/postgres", "/nowhere"), "m").list()


# ---- Promotion


def judged(registry: Registry, submit: Submit, **promotion: object) -> str:
    """A registered version whose evaluation has this verdict."""
    bundle, evaluation = submit()
    content = json.loads(evaluation.read_text())
    content["pixloop"]["promotion"] = {"champion_sha256": "", "reason": "of a reason", **promotion}
    evaluation.write_text(json.dumps(content))
    return registry.register(bundle, evaluation).version


def test_a_version_is_promoted_where_its_evaluation_says_so(
    registry: Registry, submit: Submit
) -> None:
    first = registry.promote(judged(registry, submit, promote=True))
    assert first.champion
    better = judged(registry, submit, promote=True, champion_sha256=first.bundle_sha256)
    assert registry.promote().version == better
    assert registry.promote(better).champion  # again changes nothing
    assert registry.rollback().version == first.version


def test_a_version_is_not_promoted_without_the_evidence(registry: Registry, submit: Submit) -> None:
    champion = registry.promote(judged(registry, submit, promote=True))
    same = champion.bundle_sha256
    equal = judged(registry, submit, promote=False, champion_sha256=same)
    other = judged(registry, submit, promote=True, champion_sha256="0" * 64)
    older = registry.register(*submit()).version
    rejected = judged(registry, submit, promote=True, champion_sha256=same)
    registry.reject(rejected, "wrong on snow")
    for version, why in (
        (equal, "not promoted: of a reason"),
        (other, "not compared with today's champion, version 1"),
        (older, "an older pixloop"),
        (rejected, "was rejected: wrong on snow"),
    ):
        with pytest.raises(RegistryError, match=why):
            registry.promote(version)
    assert registry.show("champion").version == champion.version
