"""``python -m pixloop.serving BUNDLE``: the server alone, as a container starts it."""

import argparse
import sys
from pathlib import Path

from pixloop.config import ServingConfig
from pixloop.errors import PixloopError
from pixloop.serving.server import serve


def main(arguments: list[str] | None = None) -> int:
    """Serve as the arguments say; the exit code."""
    options = vars(_parser().parse_args(arguments))
    bundle, name = options.pop("bundle"), options.pop("name")
    try:
        # The limits are checked where pixloop.yaml's are.
        settings = ServingConfig.model_validate(options)
        serve(bundle, name, settings)
    except (PixloopError, ValueError) as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code if isinstance(e, PixloopError) else 2
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = ServingConfig()
    parser = argparse.ArgumentParser(
        prog="python -m pixloop.serving",
        description="Serve a model bundle over HTTP: /ping, /invocations, and a page at /docs.",
        epilog="Example: python -m pixloop.serving bundle --port 9000",
    )
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle's folder, or its model.tar.gz")
    add("--name", help="what answers give as the model (default: the bundle's own name)")
    add("--host", default=defaults.host, help="the address to listen on (%(default)s)")
    add("--port", type=int, default=defaults.port, help="0 takes a free one (%(default)s)")
    add("--queue", type=int, help="requests that may wait (32 for each core)")
    add(
        "--max-body-bytes",
        type=int,
        default=defaults.max_body_bytes,
        help="the largest request (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
