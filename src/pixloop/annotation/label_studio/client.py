"""Asking a Label Studio: its REST API, without its SDK, which weighs 366 MB."""

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from pixloop.errors import AnnotationError

_PAGE = 100
#: Reading is safe to repeat. Writing is not: Label Studio may answer 500 after it has saved.
_ATTEMPTS = 4
_BUSY = frozenset((429, 502, 503, 504))


class LabelStudioClient:
    """Asks one Label Studio as one user. Use it in a ``with`` block."""

    def __init__(self, url: str, token: str, timeout_s: float = 60.0) -> None:
        """No connection is made yet.

        Args:
            url: Label Studio's address.
            token: a legacy token, or a personal access token (a JWT that gets short-lived ones).
            timeout_s: how long it may be silent.
        """
        self.url = url.rstrip("/")
        self._token = token.strip()
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s)
        if "." not in self._token:
            self._http.headers["Authorization"] = f"Token {self._token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    # ---- what there is ----------------------------------------------------------------------

    def user(self) -> str:
        """Who the token belongs to; the first thing to ask, since it says whether it holds."""
        return str(self._get("/api/current-user/whoami").get("email", ""))

    def projects(self) -> Iterator[dict[str, Any]]:
        """Every project that the user sees."""
        page = 1
        while True:
            answer = self._get("/api/projects/", page=page, page_size=_PAGE)
            yield from answer["results"]
            if not answer.get("next"):
                return
            page += 1

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """Every task with its annotations and predictions, page by page, in the order of ids.

        A task that is deleted meanwhile moves those behind it a place forward, so that one may be
        missed. Whoever takes absence for deletion asks again (``annotation_exists``).
        """
        found: dict[int, dict[str, Any]] = {}
        page, total = 1, 1
        while (page - 1) * _PAGE < total:
            answer = self._get(
                "/api/tasks/",
                missing={"tasks": [], "total": 0},  # behind the last page, after a deletion
                project=project,
                fields="all",
                resolve_uri="false",
                page=page,
                page_size=_PAGE,
            )
            total = int(answer["total"])
            found |= {int(task["id"]): task for task in answer["tasks"]}
            page += 1
        return [found[number] for number in sorted(found)]

    def task(self, task: int) -> dict[str, Any]:
        """A task as it opens; where it has no prediction, Label Studio asks the backend for one."""
        return self._get(f"/api/tasks/{task}/", resolve_uri="false")

    def annotation_exists(self, annotation: int) -> bool:
        """Whether there is an annotation of that number."""
        return bool(self._get(f"/api/annotations/{annotation}/", missing={}))

    def listed(self, kind: str, project: int) -> list[dict[str, Any]]:
        """What a project has of a kind: ``ml``, ``webhooks``, ``storages/localfiles``."""
        answer: Any = self._get(f"/api/{kind}", project=project)
        return list(answer)

    def uploads(self, project: int) -> dict[str, str]:
        """The files that were uploaded to a project: their own name to their address."""
        answer: Any = self._get(f"/api/projects/{project}/file-uploads", all="true")
        # Label Studio puts eight digits and a dash before a file's own name.
        return {
            str(each["file"]).rsplit("/", 1)[-1][9:]: f"/data/{each['file']}" for each in answer
        }

    # ---- what is made -----------------------------------------------------------------------

    def create(self, kind: str, **what: Any) -> dict[str, Any]:
        """Make one of a kind: ``projects/``, ``ml``, ``webhooks/``, ``storages/localfiles``."""
        return self._write("POST", f"/api/{kind}", json=what)

    def change(self, path: str, **what: Any) -> dict[str, Any]:
        """Change what lies at a path below ``/api/``."""
        return self._write("PATCH", f"/api/{path}", json=what)

    def delete(self, path: str) -> None:
        """Delete what lies at a path below ``/api/``."""
        self._write("DELETE", f"/api/{path}")

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> list[int]:
        """Make tasks, all of them or none; gives their ids, in order."""
        path = f"/api/projects/{project}/import?return_task_ids=true"
        return [int(each) for each in self._write("POST", path, json=list(tasks))["task_ids"]]

    def upload(self, project: int, name: str, content: bytes) -> None:
        """Upload a file, which makes no task yet."""
        path = f"/api/projects/{project}/import?commit_to_project=false"
        self._write("POST", path, files={"file": (name, content)})

    def retrieve_predictions(self, project: int, tasks: Sequence[int]) -> None:
        """Let Label Studio ask the backend about tasks that have no prediction."""
        self._write(
            "POST",
            f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}",
            json={"selectedItems": {"all": False, "included": list(tasks)}, "project": project},
        )

    # ---- inside -----------------------------------------------------------------------------

    def _get(
        self, path: str, missing: dict[str, Any] | None = None, **params: Any
    ) -> dict[str, Any]:
        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            try:
                response = self._send("GET", path, params=params)
            except httpx.HTTPError as e:
                if last or isinstance(e, httpx.ConnectError):
                    raise self._silence(e) from e
            else:
                if response.status_code not in _BUSY or last:
                    break
            time.sleep(0.5 * 2**attempt)
        if response.status_code == 404 and missing is not None:
            return missing
        return self._read(response)

    def _write(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        try:
            response = self._send(method, path, **how)
        except httpx.HTTPError as e:
            raise self._silence(e) from e
        return self._read(response)

    def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        if "." not in self._token:
            return self._http.request(method, path, **how)
        if "Authorization" not in self._http.headers:
            self._refresh()
        response = self._http.request(method, path, **how)
        if response.status_code == 401:  # the short-lived token holds for five minutes
            self._refresh()
            response = self._http.request(method, path, **how)
        return response

    def _refresh(self) -> None:
        self._http.headers.pop("Authorization", None)
        response = self._http.post("/api/token/refresh/", json={"refresh": self._token})
        access = self._read(response).get("access")
        self._http.headers["Authorization"] = f"Bearer {access}"

    def _read(self, response: httpx.Response) -> dict[str, Any]:
        where = f"{self.url}{response.request.url.path}"
        if response.status_code in (401, 403):
            raise AnnotationError(
                f"{where} does not accept the token: set LABEL_STUDIO_TOKEN to one of this Label "
                "Studio, from its page 'Account & Settings'."
            )
        if response.is_error:
            raise AnnotationError(f"{where} answered {response.status_code}: {_detail(response)}")
        if not response.content:
            return {}
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as e:
            raise AnnotationError(f"{where} does not answer as a Label Studio does.") from e
        return answer

    def _silence(self, error: httpx.HTTPError) -> AnnotationError:
        return AnnotationError(
            f"no answer from Label Studio at {self.url}: {str(error) or type(error).__name__}. "
            "'pixloop annotate up' starts one."
        )


def _detail(response: httpx.Response) -> str:
    """What Label Studio says of an error, without its trace."""
    try:
        answer = response.json()
        said = answer.get("validation_errors") or answer.get("detail")
    except (ValueError, AttributeError):
        said = None
    return str(said or response.reason_phrase)[:500]
