"""FastAPI tuned by hand: pixloop's own preprocessing and graph, and the picture as the body."""

import os

from fastapi import FastAPI, Request
from settings import MODEL, THREADS, WORKERS

from pipeline import FastestReading, Pipeline

app = FastAPI()
reading = FastestReading if os.environ.get("BENCH_READING") == "fastest" else Pipeline
pipeline = reading(MODEL / "bundle", THREADS)

if WORKERS > 1:
    # A process for each core: handing over to a thread would only cost.
    @app.post("/predict")
    async def predict(request: Request) -> dict[str, str]:
        return {"label": pipeline.labels([await request.body()], alone=True)[0]}

else:
    from anyio import CapacityLimiter, to_thread

    threads = CapacityLimiter(THREADS)

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, str]:
        body = await request.body()
        labels = await to_thread.run_sync(
            lambda: pipeline.labels([body], alone=False), limiter=threads
        )
        return {"label": labels[0]}
