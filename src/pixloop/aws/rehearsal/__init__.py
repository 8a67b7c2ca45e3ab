"""AWS on a laptop: stand-ins for what the loop uses of it, and the story that plays it all."""

from importlib.util import find_spec

from pixloop.errors import AwsError

_NEEDED = ("boto3", "moto", "flask", "awslambdaric", "mangum")

if missing := [module for module in _NEEDED if find_spec(module) is None]:
    raise AwsError(
        f"A rehearsal needs {', '.join(missing)}, which are not installed: "
        "pip install 'pixloop[rehearsal]'."
    )
