"""One execution of a pipeline, in a process of its own.

``python -m pixloop.aws.rehearsal.execution REQUEST``. The request lies in the run's folder, where
the local engine writes ``run.json``, which ``pipelines.py`` reads. What SageMaker would do at the
end of a step, it does: results go to S3, and a RegisterModel step makes a version in the model
registry.
"""

import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from pixloop.aws.rehearsal.store import S3Places
from pixloop.aws.session import Session
from pixloop.errors import PixloopError
from pixloop.pipeline.container import die_with_parent
from pixloop.pipeline.local import run_local

REQUEST = "request.json"


def main(file: Path) -> int:
    """Run the execution that a request describes; the exit code."""
    die_with_parent()
    signal.signal(signal.SIGTERM, _interrupt)
    request = json.loads(file.read_text(encoding="utf-8"))
    session, state = Session(request["region"]), Path(request["state"])
    try:
        run_local(
            request["definition"],
            state,
            request["parameters"],
            name=request["pipeline"],
            execution=request["execution"],
            places=S3Places(session.client("s3"), state / "s3"),
            register=lambda arguments: _register(session.client("sagemaker"), arguments),
        )
    except PixloopError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _register(sagemaker: Any, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """CreateModelPackage, in a group that is made where it is missing, as the service does it."""
    group = arguments["ModelPackageGroupName"]
    known = sagemaker.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]
    if group not in [each["ModelPackageGroupName"] for each in known]:
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    made = sagemaker.create_model_package(**arguments)
    return {"ModelPackageArn": made["ModelPackageArn"]}


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
