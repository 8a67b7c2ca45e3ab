"""TorchServe as its examples do it: a TorchScript model in an archive, handler image_classifier."""

import json
import os
import shutil
import sys
from pathlib import Path

from settings import BATCH, MODEL, PORT, WORKERS

CONFIGURATION = """\
inference_address=http://127.0.0.1:{port}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
enable_metrics_api=false
disable_token_authorization=true
number_of_netty_threads=2
load_models=all
models={models}
"""


def main() -> None:
    """Archive the model and become the server."""
    folder = MODEL / "torchserve"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    classes = json.loads((MODEL / "model" / "model.json").read_text())["classes"]
    names = folder / "index_to_name.json"
    names.write_text(json.dumps({str(i): name for i, name in enumerate(classes)}))
    binaries = Path(sys.executable).parent
    os.environ["PATH"] = f"{binaries}:{os.environ['PATH']}"
    archive(folder, names)
    model = {
        "defaultVersion": True,
        "marName": "model.mar",
        "minWorkers": WORKERS,
        "maxWorkers": WORKERS,
        "batchSize": max(1, BATCH),
        "maxBatchDelay": 10,
        "responseTimeout": 120,
    }
    properties = folder / "config.properties"
    properties.write_text(
        CONFIGURATION.format(
            port=PORT,
            management=PORT + 1,
            metrics=PORT + 2,
            models=json.dumps({"model": {"1.0": model}}),
        )
    )
    os.environ["LOG_LOCATION"] = os.environ["METRICS_LOCATION"] = str(folder / "logs")
    os.chdir(folder)
    command = [
        str(binaries / "torchserve"), "--start", "--foreground", "--ncs",
        "--model-store", str(folder), "--ts-config", str(properties),
    ]  # fmt: skip
    os.execv(command[0], command)  # noqa: S606


def archive(folder: Path, names: Path) -> None:
    """Write model.mar."""
    import subprocess

    executable = shutil.which("torch-model-archiver")
    assert executable, "torch-model-archiver is not installed"
    subprocess.run(
        [
            executable, "--model-name", "model", "--version", "1.0",
            "--serialized-file", str(MODEL / "bundle" / "graphs" / "model.pt"),
            "--handler", "image_classifier", "--extra-files", str(names),
            "--export-path", str(folder),
        ],
        check=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()
