"""The servers that are compared, and the settings that are tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from load import FORM_TYPE, Body, form, json_base64, raw


class Variant(NamedTuple):
    """A setting of a server."""

    workers: int
    batch: int  #: pictures computed together at most; 0: no batching


@dataclass(frozen=True)
class Server:
    """A server that is compared.

    Attributes:
        name: in results.json.
        about: what it is, for the tables.
        kind: pixloop, a peer in its documented way, or one tuned by hand with pixloop's graph.
        environment: the folder in ``work`` with its packages; None: pixloop's own.
        arguments: of its interpreter.
        path: that answers, below the port.
        body: what it wants of a picture.
        content_type: of that body.
        variants: settings to try, the likeliest first.
        variables: of its environment.
    """

    name: str
    about: str
    kind: Literal["pixloop", "documented", "tuned"]
    environment: str | None
    arguments: Sequence[str]
    path: str = "/predict"
    body: Body = raw
    content_type: str = "image/jpeg"
    variants: Sequence[Variant] = (Variant(0, 0),)
    variables: Mapping[str, str] = field(default_factory=dict)


def _uvicorn(module: str) -> tuple[str, ...]:
    return (
        "-m", "uvicorn", f"{module}:app", "--port", "{port}", "--workers", "{workers}",
        "--log-level", "warning", "--no-access-log",
    )  # fmt: skip


SERVERS = (
    Server(
        "pixloop", "pixloop", "pixloop", None,
        ("-m", "pixloop.serving", "{model}/bundle", "--port", "{port}"), "/invocations",
    ),
    Server(
        "litserve", "LitServe, torch", "documented", "env-peers", ("peers/litserve_torch.py",),
        body=json_base64("image_data"), content_type="application/json",
        variants=(Variant(2, 0), Variant(1, 0), Variant(1, 8), Variant(2, 8)),
    ),
    Server(
        "bentoml", "BentoML, torch", "documented", "env-bentoml",
        ("-m", "bentoml", "serve", "bentoml_service:Classifier", "--host", "127.0.0.1",
         "--port", "{port}",
         "--working-dir", "{peers}"),
        body=form("images"), content_type=FORM_TYPE,
        variants=(Variant(2, 0), Variant(1, 8), Variant(2, 8), Variant(1, 0)),
    ),
    Server(
        "torchserve", "TorchServe, TorchScript", "documented", "env-peers",
        ("peers/torchserve_archive.py",), "/predictions/model",
        variants=(Variant(2, 4), Variant(2, 0), Variant(1, 4), Variant(1, 0)),
    ),
    Server(
        "ray_serve", "Ray Serve, torch", "documented", "env-peers", ("peers/ray_serve.py",),
        variants=(Variant(2, 4), Variant(2, 0), Variant(1, 4)),
    ),
    Server(
        "fastapi", "FastAPI, torch", "documented", "env-peers", _uvicorn("fastapi_torch"),
        body=form("file"), content_type=FORM_TYPE, variants=(Variant(2, 0), Variant(1, 0)),
    ),
    Server(
        "litserve_openvino", "LitServe, pixloop's graph", "tuned", "env-peers",
        ("peers/litserve_openvino.py",),
        variants=(Variant(2, 0), Variant(2, 8), Variant(1, 8), Variant(1, 0)),
    ),
    Server(
        "fastapi_openvino", "FastAPI, pixloop's graph", "tuned", "env-peers",
        _uvicorn("fastapi_openvino"), variants=(Variant(2, 0), Variant(1, 0)),
    ),
    Server(
        "fastapi_fastest", "FastAPI, pixloop's graph, other preprocessing", "tuned", "env-peers",
        _uvicorn("fastapi_openvino"), variants=(Variant(2, 0), Variant(1, 0)),
        variables={"BENCH_READING": "fastest"},
    ),
)  # fmt: skip


def find_server(name: str) -> Server:
    """The server of a name."""
    return next(server for server in SERVERS if server.name == name)
