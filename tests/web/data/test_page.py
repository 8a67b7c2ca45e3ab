import io
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.web.conftest import client_of
from tests.web.data.data_sets import (
    HOSTILE,
    prepare_again,
    prepared,
    report_doubts,
    write_boxes,
    write_messy,
)

from pixloop.data.dataset import Dataset
from pixloop.errors import DataError
from pixloop.web.data import overview as data_overview
from pixloop.web.data import quarantine as data_quarantine
from pixloop.web.data.apart import Apart
from pixloop.web.data.shown import find_shown
from pixloop.web.site import Site
from pixloop.web.thumbnails import shrink

PAGES = ("", "/samples", "/findings", "/quarantine", "/duplicates", "/labels", "/augmentation")


@pytest.fixture(scope="module")
def messy_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "messy"
    return prepared(folder, write_messy(folder / "pictures"))


@pytest.fixture
def messy(messy_once, tmp_path):
    """A project with bad pictures of every kind, and hostile names; a copy."""
    folder = tmp_path / "messy"
    shutil.copytree(messy_once.folder, folder, symlinks=True)
    return Site(folder)


@pytest.fixture
def asks(messy):
    return client_of(messy)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "boxes"
    return Site(prepared(folder, write_boxes(folder / "pictures"), "detection").folder)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_hostile_names_as_text(asks, messy, path):
    report_doubts(messy.project, ["blue/1.png", f"{HOSTILE}/2.png"], "red")
    answer = asks.get(f"/data{path}")
    assert answer.status_code == 200
    assert "<img src=x" not in answer.text
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_boxes_too(boxes, path):
    assert client_of(boxes).get(f"/data{path}").status_code == 200


def test_the_overview_counts_pictures_and_classes(messy):
    shown = find_shown(messy)
    table = data_overview.class_table(shown, "", "name", 1)
    assert [row.name for row in table.rows] == [HOSTILE, "blue", "red"]
    assert sum(row.total for row in table.rows) == len(shown.catalogue) == 37
    for row in table.rows:
        assert row.pictures == row.total == sum(row.splits)


def test_classes_are_filtered_sorted_and_paged(messy):
    shown = find_shown(messy)
    assert [r.name for r in data_overview.class_table(shown, "RE", "name", 1).rows] == ["red"]
    most = data_overview.class_table(shown, "", "most", 1).rows
    assert [r.total for r in most] == sorted((r.total for r in most), reverse=True)
    assert data_overview.class_table(shown, "", "name", 999).page == 1
    assert data_overview.class_table(shown, "nothing", "name", 1).rows == ()


def test_of_boxes_the_pictures_that_show_a_class_are_counted_once(boxes):
    shown = find_shown(boxes)
    rows = data_overview.class_table(shown, "", "name", 1).rows
    assert [(row.name, row.pictures, row.total) for row in rows] == [
        ("bright", 14, 14),
        ("dark", 14, 14),
    ]


def test_what_changed_since_the_data_set_before(messy, asks):
    folder = messy.folder / "pictures"
    (folder / "red" / "3.png").unlink()
    Image.new("RGB", (30, 20), "orange").save(folder / "blue" / "new.png")
    (folder / "blue" / "5.png").rename(folder / "red" / "was blue.png")
    prepare_again(messy.project, "20260302T120000000-bbbb", "2026-03-02T12:00:00+00:00")
    changes = data_overview.changes_since(find_shown(messy))
    assert (changes.added, changes.removed, changes.relabelled) == (1, 1, 1)
    # blue: one new, one became red; red: that one came, one is gone.
    assert sorted(row[:3] for row in changes.classes) == [("blue", 1, 1), ("red", 1, 1)]
    assert "New pictures" in asks.get("/data/changes").text


def test_the_first_data_set_has_none_before(messy):
    assert find_shown(messy).before is None
    assert data_overview.changes_since(find_shown(messy)) is None


def test_runs_that_share_a_data_set_are_told(messy):
    runs = messy.state / "runs"
    first = next(runs.iterdir())
    again = json.loads((first / "run.json").read_text())
    again["id"], again["started"] = "20260305T120000000-cccc", "2026-03-05T12:00:00+00:00"
    again["steps"]["Prepare"]["status"] = "cached"
    folder = runs / again["id"]
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(again))
    (folder / "steps").symlink_to(first / "steps")
    shown = find_shown(messy)
    assert (shown.run.id, shown.users, shown.before) == (first.name, 2, None)


# ---- pictures


def test_a_sample_is_the_same_for_a_seed_and_another_for_another(messy):
    catalogue = find_shown(messy).catalogue
    assert catalogue.draw(9, 1) == catalogue.draw(9, 1)
    assert catalogue.draw(9, 1) != catalogue.draw(9, 2)


def test_a_sample_holds_a_class_and_a_split_alone(messy, asks):
    shown = find_shown(messy)
    red = shown.data.info.classes.index("red")
    places = shown.catalogue.draw(99, 0, "train", red)
    rows = [shown.catalogue.splits["train"].read(place.row) for place in places]
    assert rows
    assert all(row.label == red for row in rows)
    assert len(rows) == shown.data.info.counts["train"]["red"]
    answer = asks.get("/data/samples", params={"class": "red", "split": "train"}).text
    assert f"{len(rows)} of {len(rows)} pictures" in answer


def test_a_class_of_boxes_is_sampled_by_what_pictures_show(boxes):
    catalogue = find_shown(boxes).catalogue
    assert len(catalogue.numbers("test", 1)) == catalogue.count("test")


def test_rows_are_found_by_path_and_by_hash(messy):
    shown = find_shown(messy)
    for split in ("train", "test"):
        row = shown.catalogue.splits[split].read(0)
        assert shown.catalogue.find_paths([row.path, "nowhere"]) == {row.path: (split, 0)}
        assert shown.catalogue.find_hashes([row.sha256]) == {row.sha256: (split, 0)}


def test_pictures_are_small_kept_and_without_exif(asks, messy, tmp_path):
    version = find_shown(messy).version
    answer = asks.get(f"/data/pictures/train/0?size=160&v={version}")
    assert answer.headers["content-type"] in ("image/png", "image/jpeg")
    assert "immutable" in answer.headers["cache-control"]
    assert asks.get("/data/pictures/train/0").headers["cache-control"] == "no-store"
    noted = Image.Exif()
    noted[0x010E] = "where I live"
    Image.new("RGB", (900, 300)).save(tmp_path / "noted.jpg", exif=noted, comment=b"with whom")
    content, kind = shrink((tmp_path / "noted.jpg").read_bytes(), 160)
    assert b"where I live" not in content
    assert b"with whom" not in content
    assert kind == "image/jpeg"
    assert Image.open(io.BytesIO(content)).size == (160, 53)


@pytest.mark.parametrize(
    "path",
    [
        "/data/pictures/train/99999",
        "/data/pictures/nothing/0",
        "/data/pictures/train/0?size=7",
        "/data/pictures/train/0?size=999999999",
        "/data/pictures/..%2f..%2fetc/0",
        "/data/picture/train/99999",
        "/data/quarantine/99999",
        "/data/augmentation/part?split=nothing&row=1",
    ],
)
def test_what_is_not_there_is_404(asks, path):
    assert asks.get(path).status_code == 404


@pytest.mark.parametrize("value", ["-1", "x", "9" * 5000, "²", "' OR 1=1"])
def test_numbers_that_are_none_are_passed_over(asks, value):
    for path in ("", "/samples", "/quarantine", "/labels", "/augmentation"):
        answer = asks.get(f"/data{path}", params={"page": value, "seed": value, "class": value})
        assert answer.status_code == 200


# ---- what was left out


def test_the_quarantine_is_read_by_reason(messy, asks):
    lines = data_quarantine.quarantine(messy, find_shown(messy).data.folder / "quarantine.jsonl")
    assert lines.counts() == {
        "conflicting_labels": 2,
        "duplicate": 1,
        "not_a_picture": 1,
        "corrupt": 1,
        "empty": 1,
    }
    (line,) = lines.read(lines.of("duplicate").tolist())
    assert (line["path"], line["detail"]) == ("blue/again.png", "the same as blue/0.png")
    answer = asks.get("/data/quarantine?reason=empty").text
    assert "red/empty.png" in answer
    assert "red/corrupt.png" not in answer


def test_boxes_that_were_left_out_are_listed(boxes):
    answer = client_of(boxes).get("/data/quarantine?what=boxes").text
    assert "box without an area" in answer
    assert "box outside its picture" in answer


def test_a_reason_inside_a_name_is_no_reason(tmp_path):
    file = tmp_path / "quarantine.jsonl"
    names = ['a", "reason": "empty', "b\\", 'c\\", "reason": "empty']
    lines = [{"path": name, "reason": "corrupt", "detail": "x", "source": ""} for name in names]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    index = data_quarantine.index(file)
    assert index.counts() == {"corrupt": 3}
    assert [line["path"] for line in index.read([0, 1, 2])] == names


def test_a_hundred_thousand_lines_are_indexed_quickly(tmp_path):
    file = tmp_path / "quarantine.jsonl"
    reasons = ("corrupt", "duplicate", "empty")
    with file.open("w") as out:
        for i in range(100_000):
            out.write(json.dumps({"path": f"{i}.jpg", "reason": reasons[i % 3]}) + "\n")
    start = time.perf_counter()
    index = data_quarantine.index(file)
    assert time.perf_counter() - start < 2
    assert [line["path"] for line in index.read(index.of("empty")[:2].tolist())] == [
        "2.jpg",
        "5.jpg",
    ]


def test_damaged_lines_do_not_stop_the_page(asks, messy):
    file = find_shown(messy).data.folder / "quarantine.jsonl"
    file.write_text('{"path": \n[]\n\n{"path": null, "reason": "corrupt"}\n')
    answer = asks.get("/data/quarantine")
    assert answer.status_code == 200
    assert "unknown" in answer.text


def test_a_quarantined_picture_is_shown_from_the_source_alone(messy, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    pictures = messy.folder / "pictures"
    (pictures / "link.png").symlink_to(secret)
    (pictures / "folder").symlink_to(tmp_path)
    names = ("../../secret.png", str(secret), "link.png", "folder/secret.png", "", ".", "a\0b")
    for name in (*names, "x" * 5000, "red"):
        assert data_quarantine.source_file(messy, name) is None, name
    assert data_quarantine.source_file(messy, "blue/again.png") is not None


def test_names_of_two_sources_are_told_apart(messy, tmp_path):
    (tmp_path / "others").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "others" / "1.png")
    yaml = messy.folder / "pixloop.yaml"
    yaml.write_text(yaml.read_text().replace("# test: null", f"test: {tmp_path / 'others'}"))
    found = data_quarantine.source_file(messy, "test/1.png")
    assert found == (tmp_path / "others" / "1.png").resolve()
    assert data_quarantine.source_file(messy, "train/blue/0.png") is not None
    assert data_quarantine.source_file(messy, "blue/0.png") is None


def test_an_exact_duplicate_stands_beside_the_kept_one(asks):
    answer = asks.get("/data/duplicates").text
    assert "blue/again.png" in answer
    assert "kept together, on one side of the split" in answer


def test_findings_are_said_in_words(asks):
    answer = asks.get("/data/findings").text
    assert "1 corrupt or truncated picture" in answer
    assert "/data/quarantine?reason=corrupt" in answer


def test_findings_of_another_pixloop_are_shown_too(asks, messy):
    file = find_shown(messy).data.folder / "data_report.json"
    report = json.loads(file.read_text())
    report["findings"][0] |= {"kind": "seen_by_ghosts"}
    file.write_text(json.dumps(report))
    assert "seen by ghosts" in asks.get("/data/findings").text
    file.write_text("no json")
    assert asks.get("/data/findings").status_code == 200


# ---- likely label errors


def test_people_are_asked_about_a_doubtful_label(asks, messy):
    report_doubts(messy.project, ["blue/1.png", "red/4.png", f"{HOSTILE}/2.png"], "red")
    answer = asks.post("/data/labels/ask", data={"number": "2"})
    assert answer.status_code == 200
    assert "1 picture waits</b>" in answer.text or "1 picture waits to be asked" in answer.text
    (item,) = messy.project.review.items()
    assert (item.origin["path"], item.reasons[0].kind) == ("red/4.png", "label_error")
    assert "waits in the queue" in asks.get("/data/labels").text
    everyone = asks.post("/data/labels/ask", data={"all": "1"}).text
    assert "2 pictures wait to be asked" in everyone
    assert "1 was known before" in everyone
    messy.project.review.mark(item.sha256, "answered")
    assert "answered" in asks.get("/data/labels").text


@pytest.mark.parametrize("number", ["", "0", "99", "x", "-1", "9" * 5000])
def test_a_number_that_is_not_in_the_list_is_refused(asks, messy, number):
    report_doubts(messy.project, ["blue/1.png"], "red")
    assert asks.post("/data/labels/ask", data={"number": number}).status_code == 409
    assert not list(messy.project.review.items())


def test_asking_without_a_report_is_refused(asks):
    assert asks.post("/data/labels/ask", data={"all": "1"}).status_code == 409


def test_another_page_cannot_ask(messy, asks):
    report_doubts(messy.project, ["blue/1.png"], "red")
    answer = asks.post("/data/labels/ask", data={"all": "1"}, headers={"X-CSRF-Token": "guessed"})
    assert answer.status_code == 403
    assert not list(messy.project.review.items())


# ---- without a data set


def test_before_the_first_run_the_folders_are_counted(new_client):
    answer = new_client.get("/data").text
    assert "pixloop run" in answer
    assert "What lies in the folder" in answer
    assert new_client.get("/data/changes").status_code == 404
    assert new_client.get("/data/samples").status_code == 200


def test_a_data_set_that_is_gone_is_told(asks, messy):
    shutil.rmtree(find_shown(messy).data.folder)
    answer = asks.get("/data").text
    assert "The data set is gone" in answer


def test_a_data_set_that_is_damaged_is_told(asks, messy):
    shown = find_shown(messy)
    (shown.data.folder / shown.data.info.shards[0].file).unlink()
    fresh = client_of(Site(messy.folder))
    for path in PAGES:
        answer = fresh.get(f"/data{path}")
        assert answer.status_code == 200
        assert "cannot be used" in answer.text
    assert fresh.get("/data/pictures/train/0").status_code == 409


def test_an_older_format_is_shown(asks, messy):
    file = find_shown(messy).data.folder / "dataset.json"
    info = json.loads(file.read_text()) | {"format_version": 1}
    for key in ("pictures", "annotations", "task"):
        del info[key]
    file.write_text(json.dumps(info))
    assert "of an older pixloop" in asks.get("/data").text
    assert asks.get("/data/samples").status_code == 200


def test_an_open_page_hears_of_another_data_set(asks, messy):
    known = find_shown(messy).version
    assert "Another data set" not in asks.get(f"/data/fresh?version={known}").text
    assert "Another data set" in asks.get("/data/fresh?version=other").text


# ---- apart


@pytest.mark.integration
def test_work_apart_gives_values_errors_and_survives_a_death():
    apart = Apart()
    try:
        with pytest.raises(DataError, match="no data set"):
            apart.call(Dataset.open, Path("/no/such/folder"))
        with pytest.raises(DataError, match="ZeroDivisionError"):
            apart.call(divmod, 1, 0)
        with pytest.raises(DataError, match="died"):
            apart.call(_die)
        assert apart.call(divmod, 7, 2) == (3, 1)
    finally:
        apart.close()


def _die() -> None:
    os._exit(1)


@pytest.mark.integration
def test_augmented_pictures_are_those_of_training(boxes):
    client = client_of(boxes)
    address = "/data/augmentation/part?split=train&row=0&seed=3&all=1"
    answer = client.get(address)
    assert answer.status_code == 200
    assert "Together" in answer.text
    assert "not used" in answer.text
    assert answer.text == client.get(address).text
    assert answer.text != client.get(address.replace("seed=3", "seed=4")).text


@pytest.mark.integration
def test_boxes_of_versions_are_moved(boxes):
    from pixloop.web.data.augmented import Asked, augment, preprocessing_of
    from pixloop.web.data.catalogue import Place
    from pixloop.web.data.pictures import read_row

    shown = find_shown(boxes)
    row, preprocessing = (
        read_row(shown, Place("train", 0)),
        preprocessing_of(shown, boxes.project.config),
    )
    made = augment(Asked(row, shown.data.info.classes, ("flip",), preprocessing, 0, False))
    size = preprocessing.image_size
    (flip,) = made.alone
    mirrored = flip.versions[0]
    assert flip.used
    assert len(flip.versions) == 1
    for before, after in zip(made.plain.boxes, mirrored.boxes, strict=True):
        assert after.label == before.label
        np.testing.assert_allclose(after.x, size - before.x - before.width, atol=0.1)
