"""Plain FastAPI: an uploaded file, and a path function that is no coroutine, as it blocks."""

from eager import EagerModel
from fastapi import FastAPI, UploadFile

app = FastAPI()
model = EagerModel()


@app.post("/predict")
def predict(file: UploadFile) -> dict[str, object]:
    return model.predict([model.read(file.file.read())])[0]
