"""What is measured: models, and the sizes of the pictures that are sent."""

MODELS = ("mobilenetv3_large_100", "resnet50")
SIZES = ((640, 480), (150, 150))
SIZE_NAMES = tuple(f"{width}x{height}" for width, height in SIZES)
IMAGE_SIZE = 224  # what the models see
