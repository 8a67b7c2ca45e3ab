"""What the tiny worlds of both tasks share: a bundle around a graph, and strict JSON."""

import json
from pathlib import Path
from typing import Any

import onnx

from pixloop.bundle import CERTIFICATE, Graph, Manifest, Threshold, write_bundle


def write_tiny_bundle(
    folder: Path,
    network: onnx.ModelProto,
    measured: dict[str, Any],
    score: float | None,
    threshold: Threshold | None = None,
    **manifest: Any,
) -> Path:
    """A bundle with one graph that agrees, as ``measured``, and accepts from ``score`` on."""
    (folder / "graphs").mkdir(parents=True)
    onnx.save(network, folder / "graphs" / "model.onnx")
    graph = {"format": "onnx", "verdict": "agrees", "reason": "", **measured}
    (folder / CERTIFICATE).write_text(json.dumps({"graphs": [graph]}))
    threshold = threshold or Threshold(
        score=score, max_error=0.1, confidence=0.9, accepted_share=0.5, error=0.05, pictures=200
    )
    write_bundle(
        folder,
        Manifest(
            created="2025-01-01T00:00:00+00:00",
            graphs=(Graph(format="onnx", file="graphs/model.onnx"),),
            chosen_graph="onnx",
            threshold=threshold,
            lineage={"model": "tiny", "seed": 0, "config": {"training.epochs": 3}},
            versions={"pixloop": "0.1.0"},
            **manifest,
        ),
    )
    return folder


def read_strict_json(path: Path) -> Any:
    """JSON as the standard has it, without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
