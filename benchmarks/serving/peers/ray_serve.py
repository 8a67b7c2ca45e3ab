"""Ray Serve as its tutorial for PyTorch does it: the picture as the body, a replica a core."""

import asyncio

import ray
from eager import EagerModel
from ray import serve
from settings import BATCH, PORT, WORKERS
from starlette.requests import Request


@serve.deployment(
    num_replicas=WORKERS,
    ray_actor_options={"num_cpus": 1},
    max_ongoing_requests=max(5, 2 * BATCH),
)
class ImageModel:
    def __init__(self) -> None:
        self.model = EagerModel()

    @serve.batch(max_batch_size=max(1, BATCH), batch_wait_timeout_s=0.01)
    async def predict(self, pictures: list[bytes]) -> list[dict[str, object]]:
        return self.model.predict([self.model.read(picture) for picture in pictures])

    async def __call__(self, request: Request) -> dict[str, object]:
        body = await request.body()
        if BATCH:
            return await self.predict(body)
        return self.model.predict([self.model.read(body)])[0]


async def stay() -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    # The replicas take a core each; the proxy and the controller ask for none.
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"port": PORT, "host": "127.0.0.1"})
    serve.run(ImageModel.bind(), route_prefix="/predict")
    asyncio.run(stay())
