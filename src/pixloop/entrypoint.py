"""The commands of the container image; see the Dockerfile.

::

    train              a SageMaker training job
    step NAME …        a SageMaker processing job; what follows is pipeline.steps' own
    serve              a SageMaker endpoint or batch transform job: /ping and /invocations
    lambda             an AWS Lambda function that answers as the server does

A command is another Python program, which takes this process's place: it is the one that gets the
signals, and it imports what it needs and no more.

``serve`` serves the model in ``/opt/ml/model``; with ``SAGEMAKER_MULTI_MODEL=true``, which
SageMaker sets for a multi-model endpoint, those that it loads from ``/opt/ml/models``.

SageMaker expects containers to start as root: it mounts ``/opt/ml`` as root's. Jobs write there, so
they stay root. ``serve`` only reads; it goes on as the image's own user where that user can read
the model. Source: Amazon SageMaker Developer Guide, "Custom Inference Code with Hosting Services",
"How Amazon SageMaker Runs Your Training Image".
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Who serves, in the image; elsewhere there is no such user, and nothing changes.
SERVING_USER = "pixloop"
#: The largest request, in MiB: what SageMaker passes on to an endpoint, and to a transform job.
_ENDPOINT_MIB, _TRANSFORM_MIB = 25, 100
#: The exit code for a command that does not exist.
_USAGE = 2


def main(arguments: Sequence[str]) -> int:
    """Become the program of a command; only where there is none is there an exit code."""
    program = find_program(arguments, os.environ)
    if program is None:
        given = " ".join(arguments) or "nothing"
        print(f"{given!r}: expected train, step NAME, serve or lambda.", file=sys.stderr)
        return _USAGE
    # SageMaker adds models to a multi-model server as root, and nobody knows which yet.
    if arguments[0] == "serve" and not serves_several(os.environ):
        drop_root(SERVING_USER, model_folder(os.environ))
    os.execv(sys.executable, [sys.executable, "-m", *program])  # noqa: S606 - no shell is meant


def find_program(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str] | None:
    """The module that a command runs, and its arguments; None where there is no such command.

    >>> find_program(["step", "prepare"], {})
    ['pixloop.pipeline.steps', 'step', 'prepare']
    """
    match list(arguments):
        case ["train"]:
            return ["pixloop.pipeline.steps", "train"]
        case ["step", name, *rest]:
            return ["pixloop.pipeline.steps", "step", name, *rest]
        case ["serve"]:
            return ["pixloop.serving", *_serving_arguments(environment)]
        case ["lambda"]:
            return ["awslambdaric", "pixloop.aws.lambda_server.handler"]
        case _:
            return None


def model_folder(environment: Mapping[str, str]) -> Path:
    """Where SageMaker unpacks ``model.tar.gz``: the bundle."""
    return Path(environment.get("PIXLOOP_ML", "/opt/ml")) / "model"


def serves_several(environment: Mapping[str, str]) -> bool:
    """Whether SageMaker loads and unloads models: those of a multi-model endpoint."""
    return environment.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"


def drop_root(user: str, folder: Path) -> bool:
    """Go on as a user without rights, if this is root and the user can read all of the folder.

    Returns:
        Whether this process is that user now.
    """
    import pwd

    if os.geteuid() != 0:
        return False
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return False
    groups = os.getgroups()
    os.setgroups([])  # root's, which the user will not have
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        hidden = _find_unreadable(folder)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    if hidden:
        print(f"{hidden}: user {user} cannot read it; serving as root.", file=sys.stderr)
        return False
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    return True


def _find_unreadable(path: Path) -> Path | None:
    """The first thing in a folder that the effective user cannot read."""
    if not os.access(path, os.R_OK, effective_ids=True):
        return path
    if not path.is_dir():
        return None
    if not os.access(path, os.X_OK, effective_ids=True):
        return path
    return next(filter(None, map(_find_unreadable, sorted(path.iterdir()))), None)


def _serving_arguments(environment: Mapping[str, str]) -> list[str]:
    port = environment.get("SAGEMAKER_BIND_TO_PORT") or "8080"
    # A transform job says what it sends at most; 0 is "no limit", which a server cannot have.
    told = int(environment.get("SAGEMAKER_MAX_PAYLOAD_IN_MB", _ENDPOINT_MIB)) or _TRANSFORM_MIB
    limit = max(told, _ENDPOINT_MIB) * 2**20
    folder = model_folder(environment)
    models = ["--models", f"{folder}s"] if serves_several(environment) else [str(folder)]
    arguments = [*models, "--host", "0.0.0.0", "--port", port]  # noqa: S104 - it is a container
    arguments += ["--max-body-bytes", str(limit)]
    if name := environment.get("PIXLOOP_MODEL_NAME"):
        arguments += ["--name", name]
    return arguments


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
