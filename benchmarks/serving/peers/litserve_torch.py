"""LitServe as its guide to image classification does it: base64 in JSON, batches of tensors."""

import base64

import litserve as ls
import torch
from eager import EagerModel
from settings import BATCH, PORT, WORKERS


class ImageClassifier(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.model = EagerModel()

    def decode_request(self, request: dict) -> torch.Tensor:
        return self.model.read(base64.b64decode(request["image_data"]))

    def batch(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        return inputs

    def predict(self, inputs: list[torch.Tensor] | torch.Tensor) -> list[dict[str, object]]:
        return self.model.predict(inputs if BATCH else [inputs])

    def unbatch(self, output: list[dict[str, object]]) -> list[dict[str, object]]:
        return output

    def encode_response(self, output: object) -> object:
        return output if BATCH else output[0]


if __name__ == "__main__":
    batching = {"max_batch_size": BATCH, "batch_timeout": 0.01} if BATCH else {}
    server = ls.LitServer(
        ImageClassifier(**batching), accelerator="cpu", workers_per_device=WORKERS
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
