import re
from importlib.resources import files
from pathlib import Path

import pytest

from pixloop.annotation import label_studio
from pixloop.annotation.label_studio.environment import VERSION, environment_folder, install
from pixloop.errors import AnnotationError

UV = """#!/bin/sh
echo "$@" >> {log}
test -e {broken} && exit 1
if [ "$1" = venv ]; then for last; do :; done; mkdir -p "$last/bin"; fi
if [ "$1" = pip ]; then touch "$(dirname "$4")/label-studio"; fi
"""


@pytest.fixture
def uv(tmp_path, monkeypatch) -> Path:
    """A stand-in for uv that installs nothing; gives the file with what it was asked."""
    log, program = tmp_path / "log", tmp_path / "bin" / "uv"
    program.parent.mkdir()
    program.write_text(UV.format(log=log, broken=tmp_path / "broken"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return log


def test_it_is_made_once(uv):
    program = install()
    assert program == environment_folder() / "bin" / "label-studio"
    made = uv.read_text()
    assert "--require-hashes" in made
    assert install() == program
    assert uv.read_text() == made


def test_one_that_is_half_made_is_made_again(uv, tmp_path):
    (tmp_path / "broken").touch()
    with pytest.raises(AnnotationError, match="could not be installed"):
        install()
    # As a kill leaves it: the program is there, other packages are not.
    leftover = environment_folder() / "bin" / "half"
    leftover.parent.mkdir(parents=True, exist_ok=True)
    leftover.touch()
    leftover.with_name("label-studio").touch()
    (tmp_path / "broken").unlink()
    install()
    assert not leftover.exists()


def test_every_package_is_pinned_by_hash_and_no_address_is_in_the_lock():
    lock = files(label_studio).joinpath("requirements.lock").read_text()
    assert f"label-studio=={VERSION} " in lock
    assert "://" not in lock
    for package in re.split(r"\n(?=[a-z0-9])", lock.split("\n", 1)[1]):
        assert "==" in package.split("\n")[0]
        assert "--hash=sha256:" in package
