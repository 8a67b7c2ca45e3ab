"""The project in Label Studio, and what is connected to it; each of them once."""

from pathlib import Path
from typing import Any

from pixloop.annotation.label_studio.answers import MODEL
from pixloop.annotation.label_studio.backend import SECRET_HEADER, USER
from pixloop.annotation.label_studio.client import LabelStudioClient

#: What Label Studio tells of.
_ACTIONS = (
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "TASKS_DELETED",
)
_TITLE = "pixloop's model"


def find_project(client: LabelStudioClient, title: str) -> dict[str, Any] | None:
    """The project of a title; of several, the first that was made."""
    found = [each for each in client.projects() if each["title"] == title]
    return min(found, key=lambda each: int(each["id"]), default=None)


def open_project(
    client: LabelStudioClient, title: str, interface: str, annotators: int
) -> dict[str, Any]:
    """The project of a title, made where it is missing, with the interface that it should have.

    An interface that people changed by hand is replaced: answers are read by ours.
    """
    wanted = {"label_config": interface, "maximum_annotations": annotators}
    project = find_project(client, title)
    if project is None:
        return client.create(
            "projects/",
            title=title,
            description="Made by pixloop: 'pixloop annotate sync' brings tasks and takes answers.",
            model_version=MODEL,
            show_collab_predictions=True,
            sampling="Sequential sampling",
            **wanted,
        )
    if any(project.get(key) != value for key, value in wanted.items()):
        project = client.change(f"projects/{project['id']}/", **wanted)
    return project


def connect(
    client: LabelStudioClient,
    project: int,
    backend: str,
    secret: str,
    pictures: Path | None = None,
) -> None:
    """Connect the backend, its hook and the folder of pictures, unless they are.

    Args:
        client: of Label Studio.
        project: its number there.
        backend: the address of ours, which must answer: Label Studio tries it.
        secret: what Label Studio proves itself by.
        pictures: the folder that it serves; None where they are uploaded.
    """
    if pictures is not None and not _has(client, "storages/localfiles", project, path=pictures):
        client.create(
            "storages/localfiles",
            project=project,
            path=str(pictures),
            title="pixloop's review queue",
            use_blob_urls=True,
        )
    _replace(
        client,
        "ml",
        project,
        url=backend,
        title=_TITLE,
        auth_method="BASIC_AUTH",
        basic_auth_user=USER,
        basic_auth_pass=secret,
    )
    _replace(
        client,
        "webhooks",
        project,
        url=f"{backend}/webhook",
        headers={SECRET_HEADER: secret},
        send_payload=False,
        send_for_all_actions=False,
        actions=list(_ACTIONS),
    )


def _has(client: LabelStudioClient, kind: str, project: int, **what: object) -> bool:
    return any(
        all(str(each.get(key)) == str(value) for key, value in what.items())
        for each in client.listed(kind, project)
    )


def _replace(client: LabelStudioClient, kind: str, project: int, **what: Any) -> None:
    """Have exactly one of a kind with this address; those of ours at another address go."""
    ours = [each for each in client.listed(kind, project) if _is_ours(each, what)]
    keep = next((each for each in ours if each.get("url") == what["url"]), None)
    for each in ours:
        if each is not keep:
            client.delete(f"{kind}/{each['id']}" + ("/" if kind == "webhooks" else ""))
    if keep is None:
        client.create(kind + ("/" if kind == "webhooks" else ""), project=project, **what)


def _is_ours(each: dict[str, Any], what: dict[str, Any]) -> bool:
    if "title" in what:
        return bool(each.get("title") == what["title"])
    return SECRET_HEADER in (each.get("headers") or {})
