"""The server's own description, OpenAPI 3.1."""

from collections.abc import Sequence
from typing import Any

from pixloop import __version__
from pixloop.serving.codec import JSON, JSON_LINES, MAX_INSTANCES, PICTURE_TYPES
from pixloop.serving.problems import PROBLEM_MEDIA_TYPE

Document = dict[str, Any]

_PROBLEMS = {
    "400": "The body is empty, or not valid JSON or base64.",
    "408": "The body did not arrive in time.",
    "413": "The body, the picture or the number of pictures is too large.",
    "415": "The content type or encoding is not read here.",
    "422": "The JSON has another form, or a picture cannot be read.",
    "500": "The server failed; its log says how.",
    "503": "Too many requests are waiting; `Retry-After` says when to come back.",
}


def openapi_document(model_name: str, classes: Sequence[str], max_body_bytes: int) -> Document:
    """The OpenAPI document of a server for one model."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": model_name,
            "version": __version__,
            "summary": "A picture classifier that knows when to ask.",
            "description": (
                "Send a picture and get its class, a calibrated probability, and whether to "
                "accept the answer or refer the picture to a person. A request may hold "
                f"{max_body_bytes / 1e6:g} MB and {MAX_INSTANCES} pictures."
            ),
        },
        "paths": {
            "/invocations": {"post": _invocations()},
            "/ping": {
                "get": {
                    "operationId": "ping",
                    "summary": "Is the server ready?",
                    "responses": {"200": {"description": "It is."}},
                }
            },
        },
        "components": {"schemas": _schemas(list(classes))},
    }


def _invocations() -> Document:
    picture = {"schema": {"type": "string", "format": "binary"}}
    problem = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "operationId": "predict",
        "summary": "Classify pictures",
        "requestBody": {
            "required": True,
            "content": {
                **dict.fromkeys(PICTURE_TYPES, picture),
                JSON: {"schema": {"$ref": "#/components/schemas/Request"}},
                JSON_LINES: {
                    "schema": {
                        "type": "string",
                        "description": "A Request a line, answered by an Answer a line.",
                    }
                },
            },
        },
        "responses": {
            "200": {
                "description": "A prediction for each picture, in the order of the request.",
                "content": {
                    JSON: {"schema": {"$ref": "#/components/schemas/Answer"}},
                    JSON_LINES: {"schema": {"type": "string"}},
                },
            },
            **{
                status: {"description": description, "content": problem}
                for status, description in _PROBLEMS.items()
            },
        },
    }


def _schemas(classes: list[str]) -> Document:
    base64 = {"type": "string", "contentEncoding": "base64"}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    instance = {"type": "object", "required": ["b64"], "properties": {"b64": base64}}
    return {
        "Request": {
            "oneOf": [
                {"type": "object", "required": ["image"], "properties": {"image": base64}},
                {
                    "type": "object",
                    "required": ["instances"],
                    "properties": {
                        "instances": {
                            "type": "array",
                            "items": instance,
                            "minItems": 1,
                            "maxItems": MAX_INSTANCES,
                        }
                    },
                },
            ]
        },
        "Answer": {
            "type": "object",
            "required": ["model", "predictions"],
            "properties": {
                "model": {"type": "string"},
                "predictions": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/Prediction"},
                },
            },
        },
        "Prediction": {
            "type": "object",
            "required": ["label", "score", "decision", "probabilities"],
            "properties": {
                "label": {"type": "string", "enum": classes},
                "score": {**share, "description": "The label's calibrated probability."},
                "decision": {
                    "type": "string",
                    "enum": ["accept", "refer"],
                    "description": "accept: sure enough to use. refer: ask a person.",
                },
                "probabilities": {
                    "type": "object",
                    "properties": dict.fromkeys(classes, share),
                    "required": classes,
                },
            },
        },
        "Problem": {
            "type": "object",
            "description": "RFC 9457",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "pointer": {"type": "string", "description": "Where in the JSON, as a pointer."},
                "line": {"type": "integer", "description": "Which line of JSON lines, from 1."},
            },
        },
    }
