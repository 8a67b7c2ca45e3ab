import io
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from pixloop.aws.infrastructure.packages import build_package
from pixloop.aws.names import LEARNING_FUNCTIONS, SERVING_FUNCTIONS
from pixloop.errors import AwsError

FUNCTIONS = [*LEARNING_FUNCTIONS, *SERVING_FUNCTIONS]
#: What Lambda's runtime has beside the standard library.
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")


def names(package: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(package)).namelist()


def load(module: str, package: Path, runtime: Path) -> set[str]:
    """Import a handler in a bare interpreter; the modules of pixloop that were imported."""
    code = (
        f"import sys; sys.path[:0] = [{str(package)!r}, {str(runtime)!r}]\n"
        f"from pixloop.aws.functions.{module} import handler\n"
        "import pixloop.aws.functions\n"
        "print(*[m for m in sys.modules if m.partition('.')[0] == 'pixloop'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A folder with what Lambda brings, and nothing else."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for module in RUNTIME:
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        place = origin.parent if origin.name == "__init__.py" else origin
        (folder / place.name).symlink_to(place)
    return folder


@pytest.mark.parametrize("module", FUNCTIONS)
def test_a_handler_imports_from_its_package_alone(
    module: str, tmp_path: Path, runtime: Path
) -> None:
    package = tmp_path / "package.zip"
    package.write_bytes(build_package(module))
    load(module, package, runtime)


@pytest.mark.parametrize(
    "module", ["serialize", "classify", "filter_sure", "answer_upload", "start_run"]
)
def test_a_package_holds_nothing_that_is_not_imported(
    module: str, tmp_path: Path, runtime: Path
) -> None:
    package = tmp_path / "package.zip"
    package.write_bytes(build_package(module))
    files = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names(package.read_bytes())
    }
    assert files == load(module, package, runtime)


@pytest.mark.parametrize("module", FUNCTIONS)
def test_a_package_is_small(module: str) -> None:
    assert len(build_package(module)) < 150_000


@pytest.mark.parametrize("module", FUNCTIONS)
def test_the_same_code_gives_the_same_bytes(module: str) -> None:
    package = build_package(module)
    assert package == build_package(module)
    for entry in zipfile.ZipFile(io.BytesIO(package)).infolist():
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.external_attr >> 16 == 0o100644


def test_the_handler_is_where_its_name_says() -> None:
    assert "pixloop/aws/functions/classify.py" in names(build_package("classify"))


def test_what_type_checkers_alone_import_stays_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = tmp_path / "pixloop/aws/functions"
    functions.mkdir(parents=True)
    for name in ("", "aws/", "aws/functions/"):
        (tmp_path / "pixloop" / name / "__init__.py").write_text("")
    (functions / "odd.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from pixloop.aws import types\n"
        "import json, pixloop.aws.plain\n"
        "def handler(event, context):\n    from pixloop.aws import late\n"
    )
    for name in ("types", "plain", "late", "unused"):
        (tmp_path / f"pixloop/aws/{name}.py").write_text("")
    monkeypatch.setattr("pixloop.__file__", str(tmp_path / "pixloop/__init__.py"))
    assert set(names(build_package("odd"))) == {
        "pixloop/__init__.py",
        "pixloop/aws/__init__.py",
        "pixloop/aws/functions/__init__.py",
        "pixloop/aws/functions/odd.py",
        "pixloop/aws/late.py",
        "pixloop/aws/plain.py",
    }


def test_an_unknown_function_is_named() -> None:
    with pytest.raises(AwsError, match="'clasify'"):
        build_package("clasify")
