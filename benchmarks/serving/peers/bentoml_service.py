"""BentoML as its ResNet example does it: an uploaded picture, with and without batching."""

import bentoml
from eager import EagerModel
from PIL.Image import Image
from settings import BATCH, WORKERS

service = bentoml.service(workers=WORKERS, traffic={"timeout": 300, "concurrency": 256})


class Base:
    def __init__(self) -> None:
        self.model = EagerModel()

    def classify(self, images: list[Image]) -> list[dict[str, object]]:
        return self.model.predict([self.model.transform(image.convert("RGB")) for image in images])


if BATCH:

    @service
    class Classifier(Base):
        @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=10_000)
        def predict(self, images: list[Image]) -> list[dict[str, object]]:
            return self.classify(images)

else:

    @service
    class Classifier(Base):
        @bentoml.api
        def predict(self, images: Image) -> dict[str, object]:
            return self.classify([images])[0]
