"""Two Ray nodes check the pictures: the data set is the one that this machine makes alone."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixloop.config import DataConfig
from pixloop.data import inspections_on_ray
from pixloop.data.findings import QUARANTINE
from pixloop.data.inspections_on_ray import RAY
from pixloop.data.prepare import prepare
from pixloop.errors import DataError
from pixloop.files import sha256_folder

Put = Callable[..., Path]

#: What the nodes' processes do on reading, and this one does not.
ON_NODES = """
import os, pathlib
real = pathlib.Path.read_bytes
def read_bytes(self):
    if self.name == "elsewhere.jpg":
        raise FileNotFoundError(2, "No such file or directory")
    data = real(self)
    if data == b"KILL":
        os.kill(os.getpid(), 9)
    node = os.environ.get("TEST_NODE")
    if node and self.suffix == ".jpg":
        (pathlib.Path(os.environ["TEST_SEEN"]) / node).touch()
    return data
pathlib.Path.read_bytes = read_bytes
"""


@pytest.fixture
def source(tmp_path: Path, put: Put, paint: Any, encode: Any) -> Path:
    """Class folders with all that an inspection can find."""
    folder = tmp_path / "source"
    for number in range(40):
        put(folder / ("cat", "dog")[number % 2] / f"{number:02}.jpg", number)
    turned = Image.Exif()
    turned[0x0112] = 6
    for number in (50, 51, 52):
        put(folder / "cat" / f"{number}.jpg", encode(paint(number), "JPEG", exif=turned))
    put(folder / "cat/50 again.jpg", (folder / "cat/50.jpg").read_bytes())
    put(folder / "dog/near.jpg", encode(paint(1), "JPEG", quality=40))
    put(folder / "dog/empty.jpg", b"")
    put(folder / "dog/half.jpg", encode(paint(41, 400, 300), "JPEG")[:5000])
    put(folder / "dog/words.jpg", b"no picture")
    return folder


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for each node that has read a picture."""
    return tmp_path_factory.mktemp("seen")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, seen: Path) -> Iterator[str]:
    """The address of two nodes with a core each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(ON_NODES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("TEST_SEEN", str(seen))
        made = Cluster()
        for name in ("a", "b"):
            patch.setenv("TEST_NODE", name)
            made.add_node(num_cpus=1, object_store_memory=100_000_000, include_dashboard=False)
        made.wait_for_nodes()
    yield made.address
    made.shutdown()


def make(source: Path, folder: Path) -> str:
    """Prepare the data set in a fresh place; the digest of all of it."""
    config = DataConfig(train=str(source))
    prepare(config, source, None, folder / "set", folder / "work")
    return sha256_folder(folder / "set")


@pytest.mark.integration
def test_two_nodes_make_the_same_data_set(
    source: Path, tmp_path: Path, cluster: str, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = make(source, tmp_path / "alone")
    monkeypatch.setattr(inspections_on_ray, "_CHUNK", 4)
    monkeypatch.setattr(inspections_on_ray, "_ROUND", 25)
    monkeypatch.setenv(RAY, cluster)
    assert make(source, tmp_path / "spread") == alone
    assert sorted(path.name for path in seen.iterdir()) == ["a", "b"]
    for name in ("alone", "spread"):
        assert len(list((tmp_path / name / "work/upright").iterdir())) == 3


@pytest.mark.integration
def test_a_picture_that_kills_its_reader_ends_no_job(
    source: Path, tmp_path: Path, put: Put, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RAY, cluster)
    whole = make(source, tmp_path / "whole")
    put(source / "cat/killer.png", b"KILL")
    make(source, tmp_path / "killed")
    left_out = (tmp_path / "killed/set" / QUARANTINE).read_text().splitlines()
    (killer,) = [line for line in left_out if "killer.png" in line]
    assert "takes down the process" in killer
    for name in ("killed", "whole"):
        for file in ("data_report.json", QUARANTINE):
            (tmp_path / name / "set" / file).unlink()
    assert sha256_folder(tmp_path / "killed/set") == sha256_folder(tmp_path / "whole/set") != whole


@pytest.mark.integration
def test_what_the_nodes_do_not_see_is_not_called_missing(
    source: Path, tmp_path: Path, put: Put, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(source / "cat/elsewhere.jpg", 90)
    monkeypatch.setenv(RAY, cluster)
    with pytest.raises(DataError, match=r"cannot read .*elsewhere.jpg.*all nodes see") as error:
        make(source, tmp_path / "spread")
    assert "No such file" in str(error.value)
    monkeypatch.delenv(RAY)
    prepare(DataConfig(train="x"), source, None, tmp_path / "spread/set", tmp_path / "spread/work")


def test_without_ray_it_says_what_to_install(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv(RAY, "auto")
    with pytest.raises(DataError, match=r"pip install 'pixloop\[ray\]'"):
        make(source, tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_where_no_cluster_is_it_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv(RAY, address)
    with pytest.raises(DataError, match=f"{RAY}={address}: no Ray cluster can be reached"):
        make(source, tmp_path)
