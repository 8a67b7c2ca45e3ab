"""The commands ``deploy`` and ``verify``."""

from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer
from rich.markup import escape

from pixloop.cli.output import JsonOption, ProjectOption, err, out, print_json
from pixloop.errors import ConfigError
from pixloop.project import Project

Where = Literal["sagemaker", "lambda"]
To = Literal["endpoint", "serverless", "async", "function"]
TestsOption = Annotated[
    Path | None,
    typer.Option(
        "--tests",
        help="A folder of your own test_*.py.",
        show_default="verify",
        exists=True,
        file_okay=False,
    ),
]


def deploy(
    on: Annotated[Where, typer.Option("--on", help="Where it serves.")],
    version: Annotated[
        str, typer.Option("--version", help="A number, 'latest' or 'champion'.")
    ] = "champion",
    from_: Annotated[
        Literal["sagemaker", "here"], typer.Option("--from", help="Whose registry has it.")
    ] = "sagemaker",
    serverless: Annotated[
        bool, typer.Option("--serverless", help="An endpoint that is paid by the request.")
    ] = False,
    async_: Annotated[
        bool, typer.Option("--async", help="An endpoint that answers through S3.")
    ] = False,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="S3URI", help="Answer all pictures there, and be gone."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--out", metavar="S3URI", help="Where batch answers go."),
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Back to what served before; reject what serves.")
    ] = False,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Deploy a version, ask it the pictures of its certificate, and keep it or go back.

    Example: `pixloop deploy --on sagemaker --serverless`
    """
    _check_options(on, serverless, async_, batch, output, rollback)
    opened = Project.open(project)
    if batch:
        done = opened.on_aws.deployments.transform(batch, output, version, _tell, from_)
        if json:
            print_json({"job": done.job, "answers": done.output_uri, "seconds": done.seconds})
        else:
            out.print(f"{escape(done.model)} answered; the answers are in {done.output_uri}")
        return
    kind = _kind(on, serverless, async_)
    if rollback:
        serves = opened.on_aws.deployments.roll_back(kind, "rolled back by hand", _tell)
        if json:
            print_json({"serves": serves})
        return
    deployments = opened.on_aws.deployments
    settled = deployments.deploy(kind, version, _tell, from_)
    url = deployments.function_url() if kind == "function" else None
    if json:
        told = {"name": settled.name, "model": settled.model, "serves": settled.serves}
        print_json({**told, "url": url} if url else told)
    else:
        out.print(
            f"[bold green]{escape(settled.model)}[/] serves as {settled.name}, and answers as its "
            "certificate says"
        )
        if url:
            out.print(f"  {url} for requests that are signed for AWS")


def _check_options(
    on: Where,
    serverless: bool,
    async_: bool,
    batch: str | None,
    output: str | None,
    rollback: bool,
) -> None:
    for option, address in (("--batch", batch), ("--out", output)):
        if address and not address.startswith("s3://"):
            raise ConfigError(f"{option}: {address!r} is no S3 address, such as s3://bucket/in/.")
    if sum(map(bool, (serverless, async_, batch))) > 1:
        raise ConfigError("--serverless, --async and --batch exclude one another.")
    if on == "lambda" and (serverless or async_ or batch):
        raise ConfigError("--serverless, --async and --batch are SageMaker's: --on sagemaker.")
    if output and not batch:
        raise ConfigError("--out says where the answers of --batch go; there is no --batch.")
    if rollback and batch:
        raise ConfigError("--rollback is for what goes on serving; --batch leaves nothing behind.")


def verify(
    target: Annotated[
        str,
        typer.Argument(
            help="A URL, or one of: endpoint, serverless, async, function (the project's own)."
        ),
    ],
    version: Annotated[
        str | None,
        typer.Option("--version", help="Behind a URL: a number, 'latest' or 'champion'."),
    ] = None,
    tests: TestsOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show pytest's own report.")] = False,
    project: ProjectOption = ".",
    json: JsonOption = False,
) -> None:
    """Test a deployment: its certificate's pictures, bad requests, and your own tests.

    Tests of your own lie in `verify/test_*.py` beside pixloop.yaml; they may use the fixtures
    `deployment` and `certificate`.

    Example: `pixloop verify http://127.0.0.1:8080`
    """
    opened, verbose = Project.open(project), verbose and not json
    if tests and not any(tests.glob("test_*.py")):
        raise ConfigError(f"--tests: {tests} holds no test_*.py.")
    tests = tests or opened.own_tests
    if "://" in target:
        result = opened.verify_url(target, version, tests, verbose)
    elif target in get_args(To):
        result = opened.on_aws.deployments.verify(cast(To, target), tests, verbose)
    else:
        kinds = ", ".join(get_args(To))
        raise ConfigError(f"{target!r} is no URL, and none of {kinds}.")
    if json:
        print_json(result.to_json())
    else:
        out.print(escape(str(result)))
    if not result.ok:
        raise typer.Exit(1)


def _kind(on: Where, serverless: bool, async_: bool) -> To:
    if on == "lambda":
        return "function"
    return "serverless" if serverless else "async" if async_ else "endpoint"


def _tell(line: str) -> None:
    err.print(escape(line), style="dim")
