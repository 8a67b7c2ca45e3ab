import pytest
import timm
import torch
from torch import nn

from pixloop.config import TrainingConfig
from pixloop.imaging import Preprocessing
from pixloop.training.classifier import Classifier
from pixloop.training.head import fit_head


def classifier(network=None):
    torch.manual_seed(0)
    network = network or timm.create_model("test_resnet", num_classes=2)
    return Classifier(network, Preprocessing(image_size=32), TrainingConfig(), 1)


def batches(count):
    """Dark pictures and bright ones."""
    torch.manual_seed(count)
    targets = torch.arange(count) % 2
    pictures = torch.randint(0, 60, (count, 32, 32, 3)) + 150 * targets.view(-1, 1, 1, 1)
    return [(pictures.to(torch.uint8), targets)]


def test_the_head_alone_learns_what_the_features_show():
    model = classifier()
    frozen = {k: v.clone() for k, v in model.network.state_dict().items() if "fc" not in k}
    scores = fit_head(model, batches(24), batches(10))
    assert scores is not None
    assert scores["accuracy"] == 1.0
    pictures, targets = batches(30)[0]
    model.eval()
    # The scores are those of the network, so the standardisation was folded in rightly.
    with torch.no_grad():
        logits = model(batches(10)[0][0])
        assert (model(pictures).argmax(1) == targets).all()
    loss = float(nn.functional.cross_entropy(logits, batches(10)[0][1]))
    assert loss == pytest.approx(scores["loss"], rel=1e-3)
    after = model.network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in frozen.items())


def test_without_validation_there_are_no_scores():
    assert fit_head(classifier(), batches(12), None) == {}


def test_a_network_without_a_linear_head_is_left_alone():
    network = timm.create_model("test_resnet", num_classes=0)
    assert fit_head(classifier(network), batches(4), batches(4)) is None
