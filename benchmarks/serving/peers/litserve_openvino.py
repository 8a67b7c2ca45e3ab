"""LitServe tuned by hand: pixloop's own preprocessing and graph, and the picture as the body."""

from typing import Annotated

import litserve as ls
from fastapi import Body
from settings import BATCH, MODEL, PORT, THREADS, WORKERS

from pipeline import Pipeline

#: LitServe hands on what FastAPI makes of the annotation; this is the body as it came.
Picture = Annotated[bytes, Body(media_type="image/jpeg")]


class ImageClassifier(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.pipeline = Pipeline(MODEL / "bundle", THREADS)

    def decode_request(self, request: Picture) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, inputs: list[bytes] | bytes) -> list[str]:
        return self.pipeline.labels(inputs if BATCH else [inputs], alone=True)

    def unbatch(self, output: list[str]) -> list[str]:
        return output

    def encode_response(self, output: object) -> dict[str, object]:
        return {"label": output if BATCH else output[0]}


if __name__ == "__main__":
    batching = {"max_batch_size": BATCH, "batch_timeout": 0.002} if BATCH else {}
    server = ls.LitServer(
        ImageClassifier(**batching), accelerator="cpu", workers_per_device=WORKERS, fast_queue=True
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
