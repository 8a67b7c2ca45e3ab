"""The 15 corruptions of ImageNet-C (Hendrycks and Dietterich 2019), for pictures of any size."""

from pixloop.decoding import RgbArray

CORRUPTIONS: tuple[str, ...] = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip


def corrupt(pixels: RgbArray, name: str, severity: int, seed: int) -> RgbArray:
    """Corrupt a picture: uint8 (H, W, 3) in and out; ``severity`` 1 to 5."""
    raise NotImplementedError
