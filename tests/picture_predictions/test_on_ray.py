"""Parts computed by a cluster of two nodes on this machine: the same bytes."""

import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.picture_predictions.many_pictures import (
    content,
    contents,
    labelled,
    write_files,
    write_parquet,
)

from pixloop.bundle import MANIFEST, Bundle
from pixloop.data.ray_cluster import cluster
from pixloop.errors import DataError
from pixloop.picture_predictions.batch import predict_batch
from pixloop.picture_predictions.listing import Input
from pixloop.picture_predictions.on_ray import Ray, _blocks, _Worker
from pixloop.picture_predictions.parts import Answering, Plan
from pixloop.picture_predictions.places import Stores
from pixloop.picture_predictions.planning import write_plan

pytestmark = pytest.mark.usefixtures("small_parts")
COUNT = 47


@pytest.fixture(scope="module")
def address(moto_server: str) -> Iterator[str]:
    """Of a cluster with two nodes, which know the stand-in for S3."""
    pytest.importorskip("ray")
    # As 'pixloop predict' sets them, before Ray is imported.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    os.environ |= {"AWS_ENDPOINT_URL": moto_server, "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    node.pop("include_dashboard")
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    yield cluster.address
    cluster.shutdown()
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.pop(name)


@pytest.mark.integration
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_two_nodes_give_the_bytes_of_this_process(
    tmp_path: Path, address: str, bucket: Any, classifier_bundle: Bundle
) -> None:
    write_parquet(tmp_path / "set/a.parquet", ["red", None, "blue"] * 9, group=2)
    here: Any = (classifier_bundle, "m:1", [tmp_path / "set"])
    predict_batch(*here, tmp_path / "here")
    assert predict_batch(*here, tmp_path / "there", engine=Ray(address)).earlier == 0
    assert contents(tmp_path / "there") == contents(tmp_path / "here")

    # On S3 the nodes write what is missing.
    for name, colour in labelled(COUNT).items():
        bucket.put_object(Key=f"in/{name}", Body=content(colour))
    there: Any = (classifier_bundle, "m:1", ["s3://bucket/in"], "s3://bucket/out")
    predict_batch(*there)
    whole = stored(bucket)
    bucket.objects.filter(Prefix="out/part-0000").delete()
    assert len(stored(bucket)) < len(whole)
    assert predict_batch(*there, engine=Ray(address)).pictures == COUNT
    assert stored(bucket) == whole


def stored(bucket: Any) -> dict[str, bytes]:
    objects = bucket.objects.filter(Prefix="out/part-")
    return {each.key: each.get()["Body"].read() for each in objects}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """What a worker gives for all parts of a list, without a cluster."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "get", lambda sent: sent)

    def ask(bundle: Bundle, output: Path, place: Path) -> list[dict[str, Any]]:
        answering = Answering(model="m:1", bundle="0" * 64, graph="onnx")
        write_plan(output, Input(places=(str(place),)), answering, Stores())
        content = output.read_bytes()
        with Plan(BytesIO(content), "plan") as plan:
            files = {name: (bundle.path / name).read_bytes() for name in bundle.manifest.files}
            files[MANIFEST] = (bundle.path / MANIFEST).read_bytes()
            worker = _Worker(files, str(output.parent), content, plan.head.identity)
            if output.name in ("unseen", "empty"):
                place.rename(place.with_name("moved"))
            if output.name == "empty":
                place.mkdir()
            return list(worker({"part": np.arange(plan.head.parts)}))

    return ask


def test_a_worker_gives_back_a_file_a_part(tmp_path: Path, node: Any, bundle: Bundle) -> None:
    write_files(tmp_path / "pictures", 8)
    rows = node(bundle, tmp_path / "plan", tmp_path / "pictures")
    assert [(row["part"], row["pictures"], row["problem"]) for row in rows] == [
        ([0], [5], [""]),
        ([1], [3], [""]),
    ]
    assert all(row["content"][0].startswith(b"PAR1") for row in rows)


@pytest.mark.parametrize("mounted", ["unseen", "empty"])
def test_a_node_that_does_not_see_the_pictures_gives_no_answers(
    tmp_path: Path, node: Any, classifier_bundle: Bundle, mounted: str
) -> None:
    """Else each of them would be an error in its row. A place to mount at is a folder as well."""
    write_files(tmp_path / "pictures", 8)
    (row,) = node(classifier_bundle, tmp_path / mounted, tmp_path / "pictures")
    assert row["content"] == [b""]
    assert "does not see" in row["problem"][0]


def test_a_node_with_a_full_disk_says_so(
    tmp_path: Path, node: Any, classifier_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    write_files(tmp_path / "pictures", 8)
    monkeypatch.setattr("pixloop.picture_predictions.on_ray._write", full)
    (row,) = node(classifier_bundle, tmp_path / "plan", tmp_path / "pictures")
    assert row["problem"] == [
        "a Ray node cannot open the model from a file: No space left on device."
    ]


def test_parts_of_one_row_group_go_to_one_worker(tmp_path: Path) -> None:
    """Another would have to read what is before them."""
    write_parquet(tmp_path / "set/a.parquet", ["red"] * 20, group=20)
    write_parquet(tmp_path / "set/b.parquet", ["red"] * 9, group=3)
    asked = Input(places=(str(tmp_path / "set"),))
    answering = Answering(model="m:1", bundle="0" * 64, graph="onnx")
    write_plan(tmp_path / "plan", asked, answering, Stores())
    with Plan((tmp_path / "plan").open("rb"), "plan") as plan:
        assert list(_blocks(plan, list(range(6)), 1)) == [[0, 1, 2, 3], [4], [5]]
        assert list(_blocks(plan, [0, 2, 4, 5], 3)) == [[0, 2, 4], [5]]


def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", unreachable)
    with (
        pytest.raises(DataError, match=r"--ray auto: no Ray cluster .* nobody answers"),
        cluster("auto", "--ray auto"),
    ):
        pass
