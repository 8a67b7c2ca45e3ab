"""``python -m pixloop.serving BUNDLE``: the server alone, as a container starts it."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pixloop.config import ServingConfig
from pixloop.errors import PixloopError
from pixloop.serving.server import serve, serve_models

#: Where SageMaker unpacks the models of an endpoint for several: below it, HASH/model.
MODELS_FOLDER = Path("/opt/ml/models")


def main(arguments: list[str] | None = None) -> int:
    """Serve as the arguments say; the exit code."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    bundle, name, models = (options.pop(key) for key in ("bundle", "name", "models"))
    if (bundle is None) == (models is None):
        parser.error("give either a bundle or --models")
    if models not in (None, MODELS_FOLDER) and not models.is_dir():  # SageMaker makes its own
        parser.error(f"--models: {models} is no folder")
    try:
        # The limits are checked where pixloop.yaml's are.
        settings = ServingConfig.model_validate(options)
    except ValidationError as e:
        parser.error("; ".join(map(_explain, e.errors())))
    try:
        if models is not None:
            serve_models(models, settings)
        else:
            serve(bundle, name, settings)
    except PixloopError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    return 0


def _explain(error: Mapping[str, Any]) -> str:
    option = "--" + str(error["loc"][0]).replace("_", "-") if error["loc"] else "the options"
    return f"{option}: {error['msg']}, not {error['input']!r}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pixloop.serving",
        description="Serve a model bundle over HTTP: /ping, /invocations, /metrics, and a page at "
        "/docs. The options are those of pixloop.yaml's section 'serving'; docs/configuration.md "
        "describes them.",
        epilog="Example: python -m pixloop.serving bundle --port 9000",
    )
    parser.add_argument(
        "bundle", type=Path, nargs="?", help="the bundle's folder, or its model.tar.gz"
    )
    parser.add_argument(
        "--models",
        type=Path,
        nargs="?",
        const=MODELS_FOLDER,
        metavar="FOLDER",
        help="serve several models instead: those in this folder may be loaded and unloaded over "
        f"HTTP, by SageMaker's multi-model API ({MODELS_FOLDER})",
    )
    parser.add_argument("--name", help="what answers give as the model (the bundle's own name)")
    for key, field in ServingConfig.model_fields.items():
        option = "--" + key.replace("_", "-")
        if field.annotation is bool:
            parser.add_argument(option, action="store_true", default=field.default)
        else:
            # Their form is checked with that of pixloop.yaml.
            shown = "" if field.default is None else f"default: {field.default}"
            parser.add_argument(option, default=field.default, metavar="VALUE", help=shown)
    return parser


if __name__ == "__main__":
    sys.exit(main())
