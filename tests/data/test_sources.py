import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
import types
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixloop.data import buckets, downloads
from pixloop.data.formats import read_samples
from pixloop.data.sources import fetch
from pixloop.errors import DataError, SourceError

NOISE = np.random.default_rng(0).bytes(400_000)


def make_zip(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return content.getvalue()


PICTURES = {"cat/1.jpg": NOISE, "dog/2.jpg": b"two"}
ARCHIVE = make_zip(PICTURES)
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and ".cache" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.content``, breaking off as ``server.breaks`` says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Any = self.server
        server.requests.append(
            {k.lower(): v for k, v in self.headers.items()} | {"path": self.path}
        )
        if self.path in server.answers:
            status, headers = server.answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body, start = server.content, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and self.headers.get("If-Range") == server.etag:
            start = int(asked[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = len(body)
        if server.breaks:
            stop = min(stop, start + server.breaks.pop(0))
        self.wfile.write(body[start:stop])
        if stop < len(body):
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(downloads, "_WAITS_S", (0.0, 0.0, 0.0))
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # the connections we break
    server.content, server.etag, server.breaks = ARCHIVE, '"v1"', []
    server.requests, server.answers = [], {}
    server.url = f"http://127.0.0.1:{server.server_port}/flowers.zip"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_folders_and_label_files_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\n1.jpg,cat\n")
    cache = tmp_path / "cache"
    assert fetch(str(tmp_path), cache) == tmp_path
    assert fetch(tmp_path.as_uri(), cache) == tmp_path
    assert fetch(str(tmp_path / "labels.csv"), cache) == tmp_path / "labels.csv"
    assert not cache.exists()
    with pytest.raises(SourceError, match="is for archives"):
        fetch(str(tmp_path), cache, SHA256)


def test_archives_are_extracted_once_and_again_when_changed(tmp_path: Path) -> None:
    archive = tmp_path / "my pictures (1).zip"
    archive.write_bytes(ARCHIVE)
    first = fetch(str(archive), tmp_path / "cache", SHA256)
    assert contents(first) == PICTURES
    marker = first / "marker"
    marker.touch()
    assert fetch(archive.as_uri(), tmp_path / "cache") == first
    assert marker.exists()
    archive.write_bytes(make_zip({"owl/3.jpg": b"three"}))
    assert contents(fetch(str(archive), tmp_path / "cache")) == {"owl/3.jpg": b"three"}
    assert archive.exists()


def test_a_local_archive_with_another_hash_is_refused_and_kept(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(ARCHIVE)
    with pytest.raises(SourceError, match=f"SHA-256 is {SHA256}"):
        fetch(str(archive), tmp_path / "cache", "0" * 64)
    assert archive.exists()


def test_a_download_is_extracted_and_not_repeated(tmp_path: Path, server: Any) -> None:
    first = fetch(server.url, tmp_path)
    assert contents(first) == PICTURES
    assert fetch(server.url, tmp_path) == first
    assert fetch(server.url, tmp_path, SHA256.upper()) == first
    assert len(server.requests) == 1
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("*.zip"))


def test_a_broken_download_goes_on_where_it_was(tmp_path: Path, server: Any) -> None:
    server.breaks = [100_000, 70_000]
    assert contents(fetch(server.url, tmp_path, SHA256)) == PICTURES
    ranges = [request.get("range") for request in server.requests]
    assert ranges[0] is None
    assert len(ranges) == 3
    assert 0 < int(ranges[1].strip("bytes=-")) < int(ranges[2].strip("bytes=-")) <= 170_000
    assert server.requests[1]["if-range"] == '"v1"'


def test_the_next_run_goes_on_too(tmp_path: Path, server: Any) -> None:
    server.breaks = [50_000, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(SourceError, match="run again to go on"):
        fetch(server.url, tmp_path)
    tries = len(server.requests)
    assert tries == 5
    server.breaks = []
    assert contents(fetch(server.url, tmp_path)) == PICTURES
    assert server.requests[tries]["range"].startswith("bytes=")


def test_a_file_that_changed_in_between_is_fetched_anew(tmp_path: Path, server: Any) -> None:
    server.breaks = [50_000, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(SourceError):
        fetch(server.url, tmp_path)
    server.breaks, server.etag = [], '"v2"'
    server.content = make_zip({"owl/3.jpg": NOISE[::-1]})
    assert contents(fetch(server.url, tmp_path)) == {"owl/3.jpg": NOISE[::-1]}


def test_a_download_with_another_hash_is_refused_and_fetched_anew(
    tmp_path: Path, server: Any
) -> None:
    server.content = make_zip({"evil/1.jpg": b"x"})
    with pytest.raises(SourceError, match=r"data\.sha256 says"):
        fetch(server.url, tmp_path, SHA256)
    server.content = ARCHIVE
    assert contents(fetch(server.url, tmp_path, SHA256)) == PICTURES


def test_a_damaged_archive_is_fetched_anew(tmp_path: Path, server: Any) -> None:
    damaged = bytearray(ARCHIVE)
    damaged[1000:1100] = bytes(100)
    server.content = bytes(damaged)
    with pytest.raises(SourceError, match="cannot be extracted"):
        fetch(server.url, tmp_path)
    server.content = ARCHIVE
    assert contents(fetch(server.url, tmp_path)) == PICTURES


@pytest.mark.parametrize(
    ("path", "status", "headers", "requests"),
    [("/gone.zip", 404, {}, 1), ("/busy.zip", 503, {}, 4)],
)
def test_refusals_are_told_without_what_is_secret(
    tmp_path: Path, server: Any, path: str, status: int, headers: dict[str, str], requests: int
) -> None:
    query = "?signature=hidden"
    server.answers = {path + query: (status, headers)}
    url = server.url.replace("/flowers.zip", path)
    with pytest.raises(SourceError, match=f"the server answered {status}") as caught:
        fetch(url + query, tmp_path)
    assert "hidden" not in str(caught.value)
    assert len(server.requests) == requests


def test_what_is_no_archive_is_refused(tmp_path: Path, server: Any) -> None:
    server.content = b"<html>please log in</html>"
    with pytest.raises(SourceError, match=r"flowers\.zip is no zip or tar file"):
        fetch(server.url, tmp_path)


def test_redirects_are_followed_but_not_to_plain_http(tmp_path: Path, server: Any) -> None:
    server.answers = {
        "/a.zip": (302, {"Location": "/flowers.zip"}),
        "/b.zip": (302, {"Location": "http://example.org/flowers.zip"}),
    }
    base = server.url.removesuffix("flowers.zip")
    assert contents(fetch(base + "a.zip", tmp_path)) == PICTURES
    with pytest.raises(SourceError, match="only https"):
        fetch(base + "b.zip", tmp_path)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://example.org/a.zip", "only https"),
        ("http://127.0.0.1.example.org/a.zip", "only https"),
        ("ftp://example.org/a.zip", "there is no ftp://"),
        ("gs://bucket/a", "there is no gs://"),
        ("hf://models/owner/name", "expected hf://datasets"),
        ("hf://datasets/../name", "expected hf://datasets"),
        ("kaggle://name", "expected kaggle://owner/name"),
        ("/no/such/folder", "does not exist"),
    ],
)
def test_addresses_that_cannot_be(tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        fetch(uri, tmp_path)


@pytest.mark.parametrize(
    ("uri", "module", "extra"),
    [
        ("s3://bucket/a", "s3fs", "s3"),
        ("hf://datasets/owner/name", "huggingface_hub", "hf"),
        ("kaggle://owner/name", "kaggle", "kaggle"),
    ],
)
def test_missing_extras_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)
    with pytest.raises(SourceError, match=re.escape(f"pip install 'pixloop[{extra}]'")):
        fetch(uri, tmp_path)


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for Kaggle's client, whose own wants an account."""
    module: Any = types.ModuleType("kaggle.api.kaggle_api_extended")

    class KaggleApi:
        calls: list[str] = []  # noqa: RUF012

        def authenticate(self) -> None:
            if os.environ.get("KAGGLE_KEY") != "right":
                raise SystemExit(1)

        def dataset_download_files(self, name: str, path: str, quiet: bool, unzip: bool) -> None:
            assert quiet
            assert not unzip
            print("Dataset URL: …")
            self.calls.append(name)
            (Path(path) / "flowers.zip").write_bytes(ARCHIVE)

    module.KaggleApi = KaggleApi
    for name in ("kaggle", "kaggle.api"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", module)
    return KaggleApi


def test_kaggle_through_its_client(
    tmp_path: Path, kaggle: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with pytest.raises(SourceError, match="no Kaggle login"):
        fetch("kaggle://owner/flowers", tmp_path)
    monkeypatch.setenv("KAGGLE_KEY", "right")
    folder = fetch("kaggle://owner/flowers", tmp_path, SHA256)
    assert contents(folder) == PICTURES
    assert fetch("kaggle://owner/flowers", tmp_path) == folder
    assert kaggle.calls == ["owner/flowers"]
    assert capsys.readouterr().out == ""


class HubHandler(http.server.BaseHTTPRequestHandler):
    """Speaks the few calls that the hub's client makes for a data set."""

    protocol_version = "HTTP/1.1"
    files = {f"data/{name}": data for name, data in PICTURES.items()} | {"README.md": b"# Flowers"}

    def do_GET(self) -> None:
        path, commit = self.path.partition("?")[0], "a" * 40
        body, headers = b"", {}
        api, file = "/api/datasets/owner/flowers", path.rpartition(f"/resolve/{commit}/")[2]
        if path.startswith(f"{api}/revision/"):
            listed = [{"rfilename": name} for name in self.files]
            body = json.dumps({"id": "owner/flowers", "sha": commit, "siblings": listed}).encode()
        elif path.startswith(f"{api}/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "b" * 40}
                for name, data in self.files.items()
            ]
            body = json.dumps(tree).encode()
        elif file in self.files:
            body = self.files[file]
            etag = hashlib.sha1(body).hexdigest()  # noqa: S324 (as the hub does)
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        self.send_response(200 if body else 404)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


def fetch_from_hub(uri: str, cache: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads the hub's address when it is imported."""
    pytest.importorskip("huggingface_hub")
    code = (
        "import sys, pathlib, pixloop.data.sources as s\n"
        "print(s.fetch(sys.argv[1], pathlib.Path(sys.argv[2])))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, uri, str(cache)],
        env=os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_hugging_face_through_its_client(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = "hf://datasets/owner/flowers@main/data"
    done = fetch_from_hub(uri, tmp_path, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert contents(folder) == PICTURES
    assert fetch(uri, tmp_path) == folder


def test_hugging_face_out_of_reach_is_told(tmp_path: Path) -> None:
    done = fetch_from_hub("hf://datasets/owner/flowers", tmp_path, "http://127.0.0.1:9")
    assert "SourceError: hf://datasets/owner/flowers cannot be fetched" in done.stderr


@pytest.fixture(scope="module")
def moto_server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket of a local stand-in for S3, with the pictures below ``flowers/``."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.client("s3", endpoint_url=moto_server)
    s3.create_bucket(Bucket="bucket")
    for key, body in PICTURES.items():
        s3.put_object(Bucket="bucket", Key=f"flowers/{key}", Body=body)
    s3.put_object(Bucket="bucket", Key="flowers/", Body=b"")
    s3.put_object(Bucket="bucket", Key="flowers.zip", Body=ARCHIVE)
    return s3


def test_s3_prefixes_are_fetched_once(tmp_path: Path, bucket: Any) -> None:
    folder = fetch("s3://bucket/flowers", tmp_path)
    assert contents(folder) == PICTURES
    bucket.delete_object(Bucket="bucket", Key="flowers/cat/1.jpg")
    assert fetch("s3://bucket/flowers", tmp_path) == folder


def test_s3_archives_are_extracted(tmp_path: Path, bucket: Any) -> None:
    assert contents(fetch("s3://bucket/flowers.zip", tmp_path, SHA256)) == PICTURES


def test_a_broken_s3_archive_goes_on_where_it_was(tmp_path: Path, bucket: Any) -> None:
    etag = bucket.head_object(Bucket="bucket", Key="flowers.zip")["ETag"]
    folder = tmp_path / "fetched"
    folder.mkdir()
    # As after a kill; the first half is told apart from the object's so that it shows.
    (folder / "flowers.zip.part").write_bytes(b"\0" * 1000)
    (folder / "flowers.zip.part.etag").write_text(etag)
    file = buckets.fetch_objects("s3://bucket/flowers.zip", folder)
    assert file.read_bytes() == b"\0" * 1000 + ARCHIVE[1000:]
    file.unlink()
    (folder / "flowers.zip.part").write_bytes(b"\0" * 1000)
    (folder / "flowers.zip.part.etag").write_text('"another object"')
    assert buckets.fetch_objects("s3://bucket/flowers.zip", folder).read_bytes() == ARCHIVE
    assert [p.name for p in folder.iterdir()] == ["flowers.zip"]


def test_objects_that_are_there_are_not_fetched_again(tmp_path: Path, bucket: Any) -> None:
    folder = tmp_path / "fetched"
    buckets.fetch_objects("s3://bucket/flowers/", folder)
    (folder / "dog/2.jpg").write_bytes(b"2wo")  # so that it would show
    (folder / "cat/1.jpg").unlink()
    buckets.fetch_objects("s3://bucket/flowers/", folder)
    assert contents(folder) == PICTURES | {"dog/2.jpg": b"2wo"}


def test_a_missing_s3_object_is_told(tmp_path: Path, bucket: Any) -> None:
    with pytest.raises(SourceError, match="s3://bucket/gone"):
        fetch("s3://bucket/gone", tmp_path)
    with pytest.raises(SourceError, match="s3://nobody/flowers"):
        fetch("s3://nobody/flowers", tmp_path)


def test_a_manifests_pictures_are_fetched_from_s3(tmp_path: Path, bucket: Any) -> None:
    manifest = tmp_path / "out.manifest"
    (tmp_path / "here.jpg").write_bytes(b"here")
    addresses = ["s3://bucket/flowers/cat/1.jpg", "s3://bucket/flowers/dog/2.jpg", "here.jpg"]
    lines = [
        {"source-ref": a, "job": 0, "job-metadata": {"class-name": name}}
        for a, name in zip(addresses, ["cat", "dog", "cat"], strict=True)
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    fetched = fetch(str(manifest), tmp_path / "cache")
    *samples, broken = read_samples(fetched)
    assert [s.label for s in samples] == ["cat", "dog", "cat"]
    assert [s.path.read_bytes() for s in samples] == [NOISE, b"two", b"here"]
    assert broken.findings[0].detail.startswith("out.manifest:4 is not valid JSON")
    bucket.delete_object(Bucket="bucket", Key="flowers/cat/1.jpg")
    before = fetched.stat().st_mtime_ns
    assert fetch(str(manifest), tmp_path / "cache") == fetched
    assert fetched.stat().st_mtime_ns == before, "the step Prepare would do all of it again"


def test_a_manifest_with_all_pictures_beside_it_needs_no_s3(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"one")
    manifest = tmp_path / "out.manifest"
    manifest.write_text('{"source-ref": "s3://nowhere/a/1.jpg"}\n')
    assert fetch(str(manifest), tmp_path / "cache") == manifest


@contextmanager
def pages_of_one(then: Exception | None = None) -> Iterator[None]:
    """S3 lists one object a page; after the first page it raises, where something is to be."""
    import s3fs

    real = s3fs.S3FileSystem.call_s3

    def call(self: Any, method: str, *args: Any, **arguments: Any) -> Any:
        if method != "list_objects_v2":
            return real(self, method, *args, **arguments)
        if then is not None and "ContinuationToken" in arguments:
            raise then
        return real(self, method, *args, MaxKeys=1, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "call_s3", call)
        yield


def test_all_pages_of_a_listing_are_fetched(tmp_path: Path, bucket: Any) -> None:
    with pages_of_one():
        assert contents(fetch("s3://bucket/flowers/", tmp_path)) == PICTURES


def test_a_listing_that_breaks_off_is_told_and_the_source_is_fetched_whole_the_next_time(
    tmp_path: Path, bucket: Any
) -> None:
    with (
        pages_of_one(then=PermissionError("Access Denied")),
        pytest.raises(SourceError, match="s3://bucket/flowers/ cannot be listed: Access Denied"),
    ):
        fetch("s3://bucket/flowers", tmp_path)
    assert not list(tmp_path.rglob("source.json"))
    assert contents(fetch("s3://bucket/flowers", tmp_path)) == PICTURES


def test_an_object_that_has_changed_is_fetched_again_and_one_that_is_gone_goes(
    tmp_path: Path, bucket: Any
) -> None:
    folder = tmp_path / "fetched"
    bucket.put_object(Bucket="bucket", Key="changing/cat/1.jpg", Body=b"one")
    bucket.put_object(Bucket="bucket", Key="changing/dog/2.jpg", Body=b"two")
    buckets.fetch_objects("s3://bucket/changing", folder)
    bucket.delete_object(Bucket="bucket", Key="changing/cat/1.jpg")
    bucket.put_object(Bucket="bucket", Key="changing/dog/2.jpg", Body=b"2wo")
    bucket.put_object(Bucket="bucket", Key="changing/dog/3.jpg", Body=b"three")
    buckets.fetch_objects("s3://bucket/changing", folder)
    assert contents(folder) == {"dog/2.jpg": b"2wo", "dog/3.jpg": b"three"}


def test_an_s3_archive_that_has_changed_is_fetched_again(tmp_path: Path, bucket: Any) -> None:
    folder = tmp_path / "fetched"
    bucket.put_object(Bucket="bucket", Key="changing.zip", Body=ARCHIVE)
    buckets.fetch_objects("s3://bucket/changing.zip", folder)
    bucket.put_object(Bucket="bucket", Key="changing.zip", Body=ARCHIVE[::-1])
    assert buckets.fetch_objects("s3://bucket/changing.zip", folder).read_bytes() == ARCHIVE[::-1]


def test_damaged_notes_of_what_was_fetched_are_told_and_made_again(
    tmp_path: Path, bucket: Any
) -> None:
    folder = tmp_path / "fetched"
    buckets.fetch_objects("s3://bucket/flowers", folder)
    (tmp_path / "fetched.sqlite").write_bytes(b"no database, but as long as one" * 100)
    with pytest.raises(DataError, match=r"fetched\.sqlite was damaged"):
        buckets.fetch_objects("s3://bucket/flowers", folder)
    buckets.fetch_objects("s3://bucket/flowers", folder)
    assert contents(folder) == PICTURES


def write_manifest(file: Path, *addresses: str) -> Path:
    lines = ({"source-ref": a, "job": 0, "job-metadata": {"class-name": "cat"}} for a in addresses)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_a_picture_that_s3_does_not_have_is_missing_and_stops_nothing(
    tmp_path: Path, bucket: Any
) -> None:
    names = ["dog/2.jpg", "gone.jpg", "cat/1.jpg"]
    manifest = write_manifest(
        tmp_path / "out.manifest", *(f"s3://bucket/flowers/{name}" for name in names)
    )
    samples = list(read_samples(fetch(str(manifest), tmp_path / "cache")))
    assert [sample.path.exists() for sample in samples] == [True, False, True]
    assert samples[1].path.is_relative_to(tmp_path / "cache")
    assert samples[1].path.name == "gone.jpg"


def test_a_picture_that_cannot_be_fetched_is_named(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    async def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(s3fs.S3FileSystem, "_get_file", refuse)
    manifest = write_manifest(tmp_path / "out.manifest", "s3://bucket/flowers/cat/1.jpg")
    expected = "s3://bucket/flowers/cat/1.jpg cannot be fetched: Access Denied"
    with pytest.raises(SourceError, match=expected):
        fetch(str(manifest), tmp_path / "cache")
