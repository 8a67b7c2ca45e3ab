"""Which numbers the network is trained with."""

from typing import Literal

import torch

from pixloop.bundle import Task

Precision = Literal["float32", "bfloat16"]


def choose_precision(
    wanted: Literal["auto", "float32", "bfloat16"], task: Task = "classification"
) -> Precision:
    """``auto``: bfloat16 where the GPU or the CPU multiplies it natively.

    CPU milliseconds a picture, forward and backward, channels-last, one thread of an EPYC with
    AVX512-BF16, float32 against bfloat16: mobilenetv2_100 at 128 px 14.2 / 15.1, resnet18 at
    128 px 22.2 / 10.9, test_resnet at 32 px 0.53 / 0.43. What is mostly convolution doubles its
    speed; what is mostly depthwise neither gains nor loses. A detector gains nothing on a CPU:
    pooling regions and non-maximum suppression need float32 there.
    """
    if wanted != "auto":
        return wanted
    if task == "detection" and not torch.cuda.is_available():
        return "float32"
    return "bfloat16" if _multiplies_bfloat16() else "float32"


def _multiplies_bfloat16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older versions of torch do not tell; then float32 is the safe answer.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
