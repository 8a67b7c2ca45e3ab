"""The README's commands, run as a newcomer would."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

README = Path(__file__).parents[1] / "README.md"

# A newcomer waits for a good model; this test wants a quick one.
QUICK = """
task: classification
name: vehicles
data: ../pictures
model: {name: test_resnet, pretrained: false, image_size: 32}
training: {epochs: 8, batch_size: 16, learning_rate: 0.003, augmentations: []}
monitoring: {odds_pictures: 0}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def write_pictures(folder: Path) -> None:
    random = np.random.default_rng(0)
    for name, colour in (("bicycle", (210, 60, 40)), ("motorcycle", (30, 70, 200))):
        (folder / name).mkdir(parents=True)
        for i in range(60):
            noise = random.normal(0, 30, (32, 32, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


@pytest.mark.slow
def test_the_readme_works_as_written(tmp_path):
    write_pictures(tmp_path / "pictures")
    own, serve, table = blocks("sh")
    own = own.replace("\ncd vehicles\n", f"\ncd vehicles\ncat > pixloop.yaml <<'END'{QUICK}END\n")
    # The server needs a moment that a person at a keyboard gives it anyway.
    serve = serve.replace(
        "8080 &",
        "8080 & for i in $(seq 50); do curl -s localhost:8080/ping && break; sleep 0.2; done",
    )
    serve = serve.replace("8080", "18473")
    binaries = Path(sys.executable).parent

    ended = subprocess.Popen(
        ["bash", "-euxc", f"{own}\n{serve}\n{table}\nkill $!"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = ended.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(ended.pid, signal.SIGTERM)
        out, err = ended.communicate()

    assert ended.returncode == 0, err[-3000:]
    assert out.replace(" ", "").count('"label":"bicycle"') == 2  # the picture as it is, and as JSON
    written = (tmp_path / "vehicles" / "predictions.csv").read_text("utf-8").splitlines()
    assert len(written) == 1 + 120
