import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pixloop.data.dataset import Dataset
from pixloop.imaging import Preprocessing, read_input
from pixloop.training.loaders import (
    plain_loader,
    plain_rows,
    suitable_workers,
    training_loader,
)

TINY = Preprocessing(image_size=16)


def load(dataset, workers, first=0):
    loader = training_loader(
        Dataset.open(dataset).split("train"),
        TINY,
        augmentations=("flip", "noise"),
        batch_size=8,
        seed=1,
        workers=workers,
    )
    loader.sampler.resume(3, first)
    return list(loader)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than there are cores
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("first", [0, 2])
def test_workers_change_nothing(dataset, workers, first):
    here, there = load(dataset, 0)[first:], load(dataset, workers, first)
    assert len(here) == len(there) == 4 - first
    for (pictures, labels), (others, other_labels) in zip(here, there, strict=True):
        assert torch.equal(pictures, others)
        assert torch.equal(labels, other_labels)


def test_plain_pictures_are_what_serving_sees(dataset):
    split = Dataset.open(dataset).split("validation")
    loader = plain_loader(split, TINY, batch_size=5, workers=0, limit=1000)
    pictures = torch.cat([batch[0] for batch in loader])
    labels = torch.cat([batch[1] for batch in loader])
    assert labels.tolist() == split.labels.tolist()
    expected, _ = read_input(split.read(7).image, TINY)
    assert torch.equal(pictures[7], torch.from_numpy(expected))


def test_a_limit_takes_pictures_from_all_over(dataset):
    split = Dataset.open(dataset).split("train")
    labels = [batch[1] for batch in plain_loader(split, TINY, batch_size=3, workers=0, limit=7)]
    assert len(torch.cat(labels)) <= 7
    assert set(torch.cat(labels).tolist()) == {0, 1, 2}


class Rows:
    """All that is asked of a split's rows."""

    def __init__(self, count, streams):
        self._count, self.streams = count, streams

    def __len__(self):
        return self._count


@given(st.integers(0, 300), st.integers(1, 300), st.booleans())
def test_of_more_pictures_exactly_as_many_as_the_limit_are_taken(count, limit, streams):
    rows = list(plain_rows(Rows(count, streams), limit))
    assert len(rows) == min(count, limit)
    if streams or count <= limit:
        assert rows == list(range(len(rows)))  # no shard is fetched for a few of its rows
    else:
        gaps = [after - before for before, after in zip(rows, [*rows[1:], count], strict=True)]
        assert rows[0] == 0
        assert max(gaps) - min(gaps) <= 1


def test_a_batch_is_one_process_own(dataset):
    split = Dataset.open(dataset).split("train")
    shares = [
        plain_loader(split, TINY, batch_size=4, workers=0, limit=99, rank=rank, world=2)
        for rank in (0, 1)
    ]
    assert [[len(labels) for _, labels in share] for share in shares] == [[4, 4, 4, 1]] * 2


LETTERBOX = Preprocessing(image_size=64, resize="letterbox")


def test_processes_of_one_host_share_its_cores_and_a_cpu_keeps_them_for_the_network(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert [suitable_workers(True, processes) for processes in (1, 4, 16)] == [12, 3, 1]
    assert suitable_workers(False) == 0


def load_boxes(scenes, workers, augmentations=("flip", "shift")):
    loader = training_loader(
        Dataset.open(scenes).split("train"),
        LETTERBOX,
        "detection",
        augmentations=augmentations,
        batch_size=4,
        seed=1,
        workers=workers,
    )
    loader.sampler.set_epoch(3)
    return list(loader)


def test_workers_change_no_box(scenes):
    for (pictures, targets), (others, other_targets) in zip(
        load_boxes(scenes, 0), load_boxes(scenes, 1), strict=True
    ):
        assert torch.equal(pictures, others)
        for target, other in zip(targets, other_targets, strict=True):
            assert target.keys() == other.keys() == {"boxes", "labels"}
            assert all(torch.equal(target[key], other[key]) for key in target)


def test_boxes_are_where_the_network_sees_their_objects(scenes):
    count = 0
    for pictures, targets in load_boxes(scenes, 0, ["flip"]):
        assert pictures.shape[1:] == (64, 64, 3)
        for picture, target in zip(pictures, targets, strict=True):
            for (left, top, right, bottom), label in zip(
                target["boxes"].round().int().tolist(), target["labels"].tolist(), strict=True
            ):
                inside = picture[top + 1 : bottom - 1, left + 1 : right - 1].float().mean()
                assert inside < 60 if label == 1 else inside > 200
                count += 1
    assert count == 18


def test_plain_boxes_are_those_of_the_picture(scenes):
    split = Dataset.open(scenes).split("validation")
    loader = plain_loader(split, LETTERBOX, "detection", batch_size=3, workers=0, limit=100)
    targets = [target for _, batch in loader for target in batch]
    assert [len(t["boxes"]) for t in targets] == [2, 1, 0, 3]
    for target, objects in zip(targets, split.objects, strict=True):
        assert target["boxes"].dtype == torch.float32
        # 80 × 64 pixels become 64 × 51.
        expected = torch.tensor(objects.boxes * ([0.8, 51 / 64] * 2))
        assert torch.allclose(target["boxes"], expected.float())
        assert target["labels"].tolist() == (objects.labels + 1).tolist()
        assert target["iscrowd"].tolist() == [0] * len(objects)
