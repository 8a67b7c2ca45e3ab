"""The server's own description, OpenAPI 3.1."""

from collections.abc import Sequence
from typing import Any

from pixloop import __version__
from pixloop.bundle import Task
from pixloop.serving.codec import JSON, JSON_LINES, MAX_INSTANCES, PICTURE_TYPES
from pixloop.serving.problems import PROBLEM_MEDIA_TYPE

Document = dict[str, Any]

_SUMMARIES: dict[Task, tuple[str, str, str]] = {
    "classification": (
        "A picture classifier that knows when to ask.",
        "Send a picture and get its class, a calibrated probability, and whether to accept the "
        "answer or refer the picture to a person.",
        "Classify pictures",
    ),
    "detection": (
        "An object detector that knows when to ask.",
        "Send a picture and get a box around everything that is found: its class, a calibrated "
        "score, and whether to accept the box or refer it to a person.",
        "Find objects in pictures",
    ),
}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_DECISION = {
    "type": "string",
    "enum": ["accept", "refer"],
    "description": "accept: sure enough to use. refer: ask a person.",
}
_PROBLEMS = {
    "400": "The body is empty, or not valid JSON or base64.",
    "408": "The body did not arrive in time.",
    "413": "The body, the picture or the number of pictures is too large.",
    "415": "The content type or encoding is not read here.",
    "422": "The JSON has another form, or a picture cannot be read.",
    "500": "The server failed; its log says how.",
    "503": "Too many requests are waiting, or this one waited too long; `Retry-After` says when to "
    "come back.",
}
_REQUEST_ID: Document = {
    "description": "Names the request in the server's log; made by the server where none is given.",
    "schema": {"type": "string"},
}
_RETRY_AFTER: Document = {
    "description": "Seconds to wait. Who asks sooner on the same connection is made to wait.",
    "schema": {"type": "integer", "minimum": 0},
}
_PARAMETERS: list[Document] = [
    {
        "name": "X-Timeout-Ms",
        "in": "header",
        "description": "How long the client waits; what waited longer is not computed.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    },
    {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Names the request; 1 to 128 of A-Z a-z 0-9 _ . : = / + -.",
        "schema": {"type": "string"},
    },
]


def openapi_document(
    model_name: str, task: Task, classes: Sequence[str], max_body_bytes: int
) -> Document:
    """The OpenAPI document of a server for one model."""
    summary, description, operation = _SUMMARIES[task]
    limits = f"A request may hold {max_body_bytes / 1e6:g} MB and {MAX_INSTANCES} pictures."
    return {
        "openapi": "3.1.0",
        "info": {
            "title": model_name,
            "version": __version__,
            "summary": summary,
            "description": f"{description} {limits}",
        },
        "paths": {
            "/invocations": {"post": _invocations(operation)},
            "/ping": {
                "get": {
                    "operationId": "ping",
                    "summary": "Is the server ready?",
                    "responses": {
                        "200": {
                            "description": "It is.",
                            "content": {
                                JSON: {
                                    "schema": _object(
                                        status={"type": "string", "enum": ["ready"]},
                                        model={"type": "string"},
                                    )
                                }
                            },
                        }
                    },
                }
            },
        },
        "components": {"schemas": _schemas(task, list(classes))},
    }


def _invocations(summary: str) -> Document:
    picture = {"schema": {"type": "string", "format": "binary"}}
    problem = {PROBLEM_MEDIA_TYPE: {"schema": _reference("Problem")}}
    return {
        "operationId": "predict",
        "summary": summary,
        "parameters": _PARAMETERS,
        "requestBody": {
            "required": True,
            "content": {
                **dict.fromkeys(PICTURE_TYPES, picture),
                JSON: {"schema": _reference("Request")},
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
                "headers": {"X-Request-Id": _REQUEST_ID},
                "content": {
                    JSON: {"schema": _reference("Answer")},
                    JSON_LINES: {"schema": {"type": "string"}},
                },
            },
            **{
                status: {
                    "description": description,
                    "headers": _problem_headers(status),
                    "content": problem,
                }
                for status, description in _PROBLEMS.items()
            },
        },
    }


def _problem_headers(status: str) -> Document:
    headers = {"X-Request-Id": _REQUEST_ID}
    return {**headers, "Retry-After": _RETRY_AFTER} if status == "503" else headers


def _schemas(task: Task, classes: list[str]) -> Document:
    answered = _detection_schemas if task == "detection" else _prediction_schemas
    return {
        "Request": _request_schema(),
        "Answer": _object(
            model={"type": "string"},
            predictions={"type": "array", "items": _reference("Prediction")},
        ),
        **answered({"type": "string", "enum": classes}),
        "Problem": _problem_schema(),
    }


def _request_schema() -> Document:
    base64 = {"type": "string", "contentEncoding": "base64"}
    instances = {
        "type": "array",
        "items": _object(b64=base64),
        "minItems": 1,
        "maxItems": MAX_INSTANCES,
    }
    return {"oneOf": [_object(image=base64), _object(instances=instances)]}


def _prediction_schemas(label: Document) -> Document:
    return {
        "Prediction": _object(
            label=label,
            score={**_SHARE, "description": "The label's calibrated probability."},
            decision=_DECISION,
            probabilities=_object(**dict.fromkeys(label["enum"], _SHARE)),
        )
    }


def _detection_schemas(label: Document) -> Document:
    edges = {
        "type": "array",
        "items": {"type": "number", "minimum": 0},
        "minItems": 4,
        "maxItems": 4,
        "description": "Left, top, right and bottom edge in pixels of the upright picture.",
    }
    size = {"type": "integer", "minimum": 1, "description": "Of the upright picture, in pixels."}
    boxes = {
        "type": "array",
        "items": _reference("Box"),
        "description": "What was found, the surest first; empty where nothing was.",
    }
    score = {**_SHARE, "description": "How sure it is: the share of right ones among such boxes."}
    return {
        "Prediction": _object(boxes=boxes, width=size, height=size),
        "Box": _object(label=label, score=score, xyxy=edges, decision=_DECISION),
    }


def _problem_schema() -> Document:
    required = _object(
        type={"type": "string", "format": "uri-reference"},
        title={"type": "string"},
        status={"type": "integer"},
        detail={"type": "string"},
    )
    optional = {
        "pointer": {"type": "string", "description": "Where in the JSON, as a pointer."},
        "line": {"type": "integer", "description": "Which line of JSON lines, from 1."},
    }
    properties = {**required["properties"], **optional}
    return {**required, "description": "RFC 9457", "properties": properties}


def _object(**properties: Document) -> Document:
    """An object that must have all of these."""
    return {"type": "object", "required": list(properties), "properties": properties}


def _reference(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}
