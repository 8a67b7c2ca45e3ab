"""The door of SageMaker's runtime: InvokeEndpoint, answered by the endpoint's own server.

Errors have AWS's form: an endpoint that there is not is a ``ValidationError``, an error of the
model a ``ModelError`` (424) with the model's status and answer. Faults can be ordered.
Source: botocore's model of sagemaker-runtime; the wording of the messages is from memory.
"""

import json
import re
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import httpx
from moto.core import DEFAULT_ACCOUNT_ID

from pixloop.aws.rehearsal.endpoints import Endpoints

#: Source: Amazon SageMaker AI endpoints and quotas, real-time inference (25 MB).
_MAX_BODY_BYTES = 25 * 1024 * 1024
#: A model has 60 seconds for an answer.
_MODEL_S = 60.0
_PATH = re.compile(r"/endpoints/([^/]+)/invocations")
_STATUSES = {"ThrottlingException": 400, "ServiceUnavailable": 503, "InternalFailure": 500}


class Front:
    """An HTTP server for ``sagemaker-runtime``."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._faults: deque[str] = deque()
        self._lock = threading.Lock()
        self.invocations = 0  #: requests that a model was asked
        self._models = httpx.Client(timeout=_MODEL_S, trust_env=False)  # by no proxy
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail_next(self, error: str, count: int = 1) -> None:
        """Answer the next requests with an error.

        Args:
            error: ``ThrottlingException``, ``ServiceUnavailable`` or ``InternalFailure``.
            count: how many; boto3 itself tries such a request several times.
        """
        with self._lock:
            self._faults.extend([error] * count)

    def heal(self) -> None:
        """Drop the faults that were ordered and not met yet."""
        with self._lock:
            self._faults.clear()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._models.close()

    # ---- inside

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, answered, content = front._answer(self.path, headers, body)
                self.send_response(status)
                for name, value in answered.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler

    def _answer(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        match = _PATH.fullmatch(path)
        if match is None:
            return _error(404, "UnknownOperationException", "the stand-in only has InvokeEndpoint")
        with self._lock:
            fault = self._faults.popleft() if self._faults else None
        if fault is not None:
            return _error(_STATUSES[fault], fault, "Rate exceeded" if "Thr" in fault else fault)
        if len(body) > _MAX_BODY_BYTES:
            return _error(400, "ValidationError", f"a body has at most {_MAX_BODY_BYTES} bytes")
        name = unquote(match[1])
        variant = self._endpoints.variant(name, headers.get("x-amzn-sagemaker-target-variant"))
        if variant is None:
            message = f"Endpoint {name} of account {DEFAULT_ACCOUNT_ID} not found."
            return _error(400, "ValidationError", message)
        passed = {k: v for k, v in headers.items() if k in ("content-type", "accept")}
        try:
            answer = self._models.post(
                f"{variant.server.url}/invocations", content=body, headers=passed
            )
        except httpx.HTTPError as e:
            return _error(503, "ServiceUnavailable", f"the server of {name} does not answer: {e}")
        with self._lock:
            self.invocations += 1
        if answer.status_code >= 400:
            return _model_error(answer.status_code, answer.text)
        kept = {
            "Content-Type": answer.headers.get("content-type", "application/octet-stream"),
            "x-Amzn-Invoked-Production-Variant": variant.name,
        }
        return 200, kept, answer.content


def _error(status: int, code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": code}
    return status, headers, json.dumps({"Message": message, "message": message}).encode()


def _model_error(status: int, text: str) -> tuple[int, dict[str, str], bytes]:
    side = "client" if status < 500 else "server"
    said = {
        "ErrorCode": f"{side.upper()}_ERROR_FROM_MODEL",
        "Message": f'Received {side} error ({status}) from primary with message "{text}".',
        "OriginalMessage": text,
        "OriginalStatusCode": status,
        "LogStreamArn": "",
    }
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "ModelError"}
    return 424, headers, json.dumps(said).encode()
