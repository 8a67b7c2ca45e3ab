"""Names that Train would refuse, refused before Prepare has worked for an hour.

::

    python -m pixloop.pipeline.early_check < config.json      exit code 2: a name is wrong
"""

import json
import subprocess
import sys

from pixloop.config import Config
from pixloop.errors import ConfigError, PipelineError


def check_early(config: Config) -> None:
    """Check the model's, the optimizer's and the augmentations' names, in a process of its own.

    torch and timm take seconds to import and hundreds of megabytes, which a run that only waits
    for its steps is not to carry.

    Raises:
        ConfigError: a name is wrong, as ``training.names`` says it.
        PipelineError: the check itself failed.
    """
    ended = subprocess.run(
        # -P: no file in the current folder is to stand in for a module.
        [sys.executable, "-P", "-m", "pixloop.pipeline.early_check"],
        input=json.dumps(config.model_dump(mode="json")),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if ended.returncode == ConfigError.exit_code:
        raise ConfigError(ended.stdout.strip())
    if ended.returncode != 0:
        cause = ended.stderr.strip() or f"exit code {ended.returncode}"
        raise PipelineError(f"The names in pixloop.yaml could not be checked: {cause}")


def main() -> int:
    """Check the configuration on standard input; what is wrong goes to standard output."""
    from pixloop.training.names import check_names

    try:
        check_names(Config.model_validate(json.load(sys.stdin.buffer)))
    except ConfigError as e:
        print(e)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
