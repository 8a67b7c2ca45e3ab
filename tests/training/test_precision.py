import pytest
import torch

from pixloop.training.precision import choose_precision


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({}, "float32"), ({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16")],
)
def test_a_cpu_that_multiplies_bfloat16_uses_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision("auto") == expected
    assert choose_precision("float32") == "float32"
    assert choose_precision("bfloat16") == "bfloat16"


def test_an_old_torch_means_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto") == "float32"


def test_a_detector_on_a_cpu_takes_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert choose_precision("auto") == "bfloat16"
    assert choose_precision("auto", "detection") == "float32"
    assert choose_precision("bfloat16", "detection") == "bfloat16"
