import pytest
import timm
import torch

from pixloop.config import TrainingConfig
from pixloop.imaging import Preprocessing
from pixloop.training.classifier import Classifier
from pixloop.training.cut import cut_network
from pixloop.training.frozen_features import FrozenFeatures
from pixloop.training.maps import look

BYTES_EACH = 192 * 2 * 2 * 2  # test_resnet at 32 px, float16


def frozen(is_cut: bool = True) -> FrozenFeatures:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3)
    model = Classifier(network, Preprocessing(image_size=32), TrainingConfig(), 1).eval()
    return FrozenFeatures(model, cut_network(network, 32) if is_cut else None)


def batches(*counts: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return [
        (torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8), 10 * i + torch.arange(n))
        for i, n in enumerate(counts)
    ]


def test_maps_and_features_of_all_pictures():
    told = []
    given = batches(4, 4, 1)
    features, maps = look(frozen(), given, each=lambda: told.append(1))
    assert len(told) == 3
    assert features.targets.tolist() == maps.targets.tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 20]
    assert maps.values.shape == (9, 192, 2, 2)
    assert maps.values.dtype == torch.float16
    _, exact = frozen()(given[1][0])
    torch.testing.assert_close(maps.values[4:8].float(), exact, rtol=1e-3, atol=1e-4)


def test_mirror_images_too():
    pictures, labels = batches(3)[0]
    features, maps = look(frozen(), [(pictures, labels)], flip=True)
    assert maps.pictures == 3
    assert len(maps.values) == 6
    assert features.targets.tolist() == [0, 0, 1, 1, 2, 2]
    mirrored, _ = frozen()(pictures.flip(2))
    torch.testing.assert_close(features.values[1::2], mirrored)


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8, 9, 100])
def test_where_there_is_no_room_for_all_maps_they_are_evenly_spread(room):
    features, maps = look(frozen(), batches(4, 4, 1), most_bytes=room * BYTES_EACH)
    assert len(features.targets) == 9  # the head learns from all
    assert 0 < maps.pictures <= room
    stride = -(-12 // room)  # three batches of four at most
    assert maps.targets.tolist() == features.targets.tolist()[::stride]
    assert all(torch.isfinite(maps.values).flatten())


def test_mirror_images_stay_with_their_pictures():
    given = batches(4, 4, 1)
    _, maps = look(frozen(), given, flip=True, most_bytes=8 * BYTES_EACH)
    assert maps.targets.tolist() == [0, 0, 3, 3, 12, 12]
    _, expected = frozen()(torch.stack([given[0][0][3], given[0][0][3].flip(1)]))
    torch.testing.assert_close(maps.values[2:4].float(), expected, rtol=1e-3, atol=1e-4)


def test_without_a_cut_there_are_no_maps():
    features, maps = look(frozen(is_cut=False), batches(4, 1))
    assert features.values.ndim == 2
    assert len(features.targets) == 5
    assert maps.pictures == 0


def test_what_half_precision_cannot_hold_is_not_infinite():
    class Large:
        def __call__(self, pictures):
            return torch.zeros(len(pictures), 2), torch.full((len(pictures), 1, 2, 2), -1e9)

    _, maps = look(Large(), batches(2))
    assert torch.isfinite(maps.values).all()
