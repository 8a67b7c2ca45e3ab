"""Versions without a training, and what answers as a server of theirs does."""

import json
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pixloop.model_versions import ModelVersion
from pixloop.project import Project

METRICS = """# TYPE pixloop_requests counter
pixloop_requests_total{model="new:1",status="200"} 30
pixloop_requests_total{model="new:1",status="503"} 10
# TYPE pixloop_request_seconds histogram
pixloop_request_seconds_bucket{model="new:1",le="0.01"} 30
pixloop_request_seconds_bucket{model="new:1",le="+Inf"} 30
# TYPE pixloop_model_swaps counter
pixloop_model_swaps_total{model="new:2",result="refused"} 1.0
pixloop_model_swaps_total{model="new:3",result="taken"} 1.0
"""


class Server(ThreadingHTTPServer):
    ping: bytes = b'{"status": "ready", "model": "new:1"}'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.ping if self.path == "/ping" else METRICS.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def made(number, **more):
    facts = {
        "model": "colours",
        "version": str(number),
        "status": "pending",
        "champion": False,
        "created": "2026-11-01T10:00:00+00:00",
        "metrics": {"accuracy": 0.9, "f1_macro": 0.8},
        "chosen_graph": "onnx",
        "lineage": {},
        "bundle_sha256": "0" * 64,
        "bundle": "",
        "report": "",
        "run": f"run{number}",
    }
    return ModelVersion(**{**facts, **more})


def register_second(project: Project) -> None:
    """A second version beside the first, which becomes the champion."""
    registry = project.registry
    first = registry.show("1")
    folder = project.folder / "second"
    shutil.copytree(registry.artifacts / first.run / "artifacts", folder)
    manifest = folder / "bundle" / "bundle.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"created": "2026-11-02T10:00:00+00:00"}))
    registry.register(folder / "bundle", folder / "evaluation" / "evaluation.json")
    registry.approve("1")
