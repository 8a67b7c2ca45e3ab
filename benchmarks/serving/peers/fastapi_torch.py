"""Plain FastAPI: an uploaded file, and a path function that is no coroutine, as it blocks."""

import uvicorn
from eager import EagerModel
from fastapi import FastAPI, UploadFile
from settings import PORT, WORKERS

app = FastAPI()
model = EagerModel()


@app.post("/predict")
def predict(file: UploadFile) -> dict[str, object]:
    return model.predict([model.read(file.file.read())])[0]


if __name__ == "__main__":
    uvicorn.run("fastapi_torch:app", port=PORT, workers=WORKERS, log_level="warning")
