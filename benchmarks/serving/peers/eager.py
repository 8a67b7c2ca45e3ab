"""The trained weights in eager torch behind torchvision's usual transforms."""

import io
import json
from collections.abc import Sequence

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from settings import MODEL, THREADS
from torchvision import transforms


class EagerModel:
    """A timm model and its transforms, as the projects' examples for vision write them."""

    def __init__(self) -> None:
        torch.set_num_threads(THREADS)
        description = json.loads((MODEL / "model" / "model.json").read_text())
        self.classes = description["classes"]
        self.network = timm.create_model(description["name"], num_classes=len(self.classes)).eval()
        self.network.load_state_dict(load_file(MODEL / "model" / "weights.safetensors"))
        preprocessing = description["preprocessing"]
        self.transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize(preprocessing["mean"], preprocessing["std"]),
            ]
        )

    def read(self, picture: bytes) -> torch.Tensor:
        """Encoded bytes to a network's input, float32 (3, 224, 224)."""
        return self.transform(Image.open(io.BytesIO(picture)).convert("RGB"))

    def predict(self, inputs: Sequence[torch.Tensor]) -> list[dict[str, object]]:
        """The top class of each, and its probability."""
        with torch.inference_mode():
            probabilities = torch.softmax(self.network(torch.stack(list(inputs))), dim=1)
        scores, best = probabilities.max(dim=1)
        return [
            {"label": self.classes[i], "score": score}
            for i, score in zip(best.tolist(), scores.tolist(), strict=True)
        ]
