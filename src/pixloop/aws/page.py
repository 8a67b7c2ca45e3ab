"""The Try page on AWS: its stack (a bucket behind CloudFront), its files, and whom it asks."""

import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pixloop.aws.deployment.function import read_function_source, read_live, read_url
from pixloop.aws.deployment.function_access import close, open_to_page
from pixloop.aws.infrastructure.cloudformation import (
    OnEvent,
    StackEvent,
    delete_stack,
    deploy_stack,
    describe_stack,
)
from pixloop.aws.infrastructure.code_bucket import CodeBucket, bucket_exists
from pixloop.aws.infrastructure.parameters import Place, make_target
from pixloop.aws.pipeline.model_packages import PackageRegistry
from pixloop.aws.session import Session, translated
from pixloop.aws.stacks import read_text
from pixloop.aws.storage import list_objects
from pixloop.bundle import Bundle
from pixloop.errors import AwsError

#: The page itself is asked for each time; what it links is named by its content.
_PAGE, _FRESH, _KEPT = "index.html", "no-cache", "public, max-age=31536000, immutable"
#: A version that was deployed from this machine's registry.
_FROM_HERE = "here-"


@dataclass(frozen=True, slots=True)
class Hosted:
    """Where the page is."""

    address: str  #: ``https://….cloudfront.net``, which is its origin as well
    bucket: str
    distribution: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The function that the page asks, and what serves there."""

    url: str
    model: str
    bundle: Bundle


class TryPage:
    """The page of one project."""

    def __init__(
        self,
        place: Place,
        session: Session,
        registry: PackageRegistry,
        state: Path,
        find_bundle: Callable[[str], tuple[str, Bundle]],
    ) -> None:
        """Use ``AwsProject.page``."""
        self._place, self._session, self._registry = place, session, registry
        self._state, self._find_bundle = state, find_bundle

    def find_function(self) -> Asked:
        """The function, which must be one that anybody may be let ask.

        Raises:
            AwsError: nothing was deployed to it, or pixloop.yaml does not let anybody ask it.
        """
        name = self._place.names.server_function
        if not self._place.config.aws.public_function:
            raise AwsError(
                "A page cannot sign as AWS wants it, so the function would have to answer anybody "
                "who asks, page or not, and you pay for it. If that is wanted: set "
                "aws.public_function: true. A server of yours instead: --url."
            )
        with translated(f"the function {name}"):
            url = read_url(self._session, make_target(self._place, "function", ""))
            if url is None or read_live(self._session, name) is None:
                raise AwsError(
                    "Nothing serves as a function yet; 'pixloop deploy --on lambda' does it."
                )
            source = read_function_source(self._session, name)
        return Asked(url, source.name, self._bundle(source.name))

    def host(self, on_event: OnEvent) -> Hosted:
        """Make the page's stack, or change what differs. The first time takes minutes.

        Raises:
            AwsError: AWS refuses.
        """
        code = CodeBucket(self._session)
        code.prepare()
        place, text = self._place, read_text("page.yaml").encode()
        outputs = deploy_stack(
            self._session,
            place.names.page_stack,
            code.url(code.put(f"{place.config.name}/page", text, ".yaml")),
            {
                "Project": place.config.name,
                "BucketName": place.own_bucket("page"),
                "PageName": place.names.page(place.config.aws.region),
            },
            on_event,
        )
        return Hosted(outputs["Address"], outputs["BucketName"], outputs["DistributionId"])

    def upload(self, hosted: Hosted, folder: Path) -> int:
        """Put an exported page's files there, and have CloudFront fetch them; how many.

        The page comes last, when what it links is there; what an earlier one had goes then.
        """
        files = sorted((f for f in folder.iterdir() if f.is_file()), key=lambda f: f.name == _PAGE)
        s3 = self._session.client("s3")
        with translated(f"s3://{hosted.bucket}"):
            for file in files:
                s3.put_object(
                    Bucket=hosted.bucket,
                    Key=file.name,
                    Body=file.read_bytes(),
                    ContentType=_media_type(file),
                    CacheControl=_FRESH if file.suffix in (".html", ".json") else _KEPT,
                )
            names = {file.name for file in files}
            for found in list(list_objects(self._session, f"s3://{hosted.bucket}/")):
                if found.key not in names:
                    s3.delete_object(Bucket=hosted.bucket, Key=found.key)
            self._session.client("cloudfront").create_invalidation(
                DistributionId=hosted.distribution,
                InvalidationBatch={
                    "Paths": {"Quantity": 1, "Items": ["/*"]},
                    "CallerReference": uuid4().hex,
                },
            )
        return len(files)

    def open_function(self, hosted: Hosted) -> None:
        """Let anybody ask the function, and the page's origin alone read its answers."""
        name = self._place.names.server_function
        with translated(f"the URL of {name}"):
            open_to_page(self._session, name, hosted.address)

    def close_function(self, on_event: OnEvent) -> None:
        """Let only those ask the function that sign: the page asks somebody else now."""
        close_function(self._session, self._place, on_event)

    def remove(self, on_event: OnEvent) -> None:
        """Close the function's URL, and take the page down. None is fine."""
        close_function(self._session, self._place, on_event)
        remove_page(self._session, self._place, on_event)

    def _bundle(self, model: str) -> Bundle:
        """The bundle of what a function serves, by the name that its answers give."""
        version = model.rpartition(":")[2]
        if version.startswith(_FROM_HERE):
            return self._find_bundle(version.removeprefix(_FROM_HERE))[1]
        return self._registry.bundle(version, self._state / "bundles" / f"sagemaker-{version}")


def remove_page(session: Session, place: Place, on_event: OnEvent) -> None:
    """Remove the page's files and its stack. None is fine."""
    stack, bucket = place.names.page_stack, place.own_bucket("page")
    # A bucket of that name without the stack is somebody else's matter.
    if describe_stack(session, stack) is None:
        return
    if bucket_exists(session, bucket):
        with translated(f"s3://{bucket}"):
            for found in list(list_objects(session, f"s3://{bucket}/")):
                session.client("s3").delete_object(Bucket=bucket, Key=found.key)
    delete_stack(session, stack, on_event)


def close_function(session: Session, place: Place, on_event: OnEvent) -> None:
    """Let only those ask a project's function that sign. No function is fine."""
    function = place.names.server_function
    with translated(f"the URL of {function}"):
        if close(session, function):
            on_event(StackEvent("", f"URL of {function}", "", "CLOSED", ""))


def _media_type(file: Path) -> str:
    """As the static files are to be sent: browsers run and read nothing else.

    >>> _media_type(Path("export.js")), _media_type(Path("icon.svg"))
    ('text/javascript; charset=utf-8', 'image/svg+xml')
    """
    known = {".js": "text/javascript", ".json": "application/json"}
    kind = (
        known.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    )
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
