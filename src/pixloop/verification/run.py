"""Runs the verification suite with pytest, in this process, cut off from its surroundings.

A run depends on the deployment, the certificate and the tests alone: no configuration file, no
``conftest.py`` but the one beside the project's own tests, no plugins that happen to be installed.
It leaves nothing behind, neither files nor modules.
"""

import importlib.util
import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from pixloop.certificate import read_certificate
from pixloop.errors import AwsError, VerificationError
from pixloop.verification.deployment import Deployment
from pixloop.verification.result import VerificationResult

_SUITE = Path(__file__).with_name("suite") / "deployment.py"


def run_suite(
    deployment: Deployment,
    bundle: Path | IO[bytes],
    own_tests: Path | None = None,
    verbose: bool = False,
) -> VerificationResult:
    """Test a deployment: the suite, and then the project's own tests.

    Args:
        deployment: what to ask.
        bundle: the bundle that it should serve, as ``read_certificate`` takes it.
        own_tests: a folder of ``test_*.py``, which may use the fixtures ``deployment``,
            ``certificate`` and ``certified_picture``. One that does not exist holds none.
        verbose: let pytest print its own report on standard output.

    Raises:
        AwsError: pytest is not installed.
        BundleError: the bundle has no certificate to verify by.
        VerificationError: the tests could not be run; the message has pytest's words.
    """
    try:
        import pytest

        from pixloop.verification.plugin import VerificationPlugin
    except ImportError as e:
        raise AwsError("'pixloop verify' needs pytest: pip install 'pixloop[aws]'.") from e
    plugin = VerificationPlugin(deployment, read_certificate(bundle))
    own = own_tests.resolve() if own_tests is not None and own_tests.is_dir() else None
    started = time.monotonic()
    printed = io.StringIO()
    with (
        _isolated(own),
        redirect_stdout(sys.stdout if verbose else printed),
        redirect_stderr(printed),
    ):
        plugins: list[Any] = [plugin, *_own_fixtures(own)]
        status = pytest.main([*_options(own), str(_SUITE), *([str(own)] if own else [])], plugins)
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not plugin.failed:
        raise VerificationError(
            f"the verification could not run (pytest ended with {int(status)}): "
            f"{printed.getvalue().strip()[-2000:]}"
        )
    return VerificationResult(
        deployment=deployment.name,
        passed=plugin.passed,
        skipped=plugin.skipped,
        failed=tuple(plugin.failed),
        seconds=time.monotonic() - started,
    )


def _options(own: Path | None) -> list[str]:
    root = own.parent if own else _SUITE.parent
    return [
        *("-c", os.devnull, "--rootdir", str(root), "--noconftest"),
        *("--import-mode=importlib", "--capture=sys", "--tb=short", "-q"),
        *("-p", "no:cacheprovider", "-p", "no:faulthandler"),
    ]


def _own_fixtures(own: Path | None) -> list[ModuleType]:
    """The ``conftest.py`` beside the project's own tests, and no other."""
    if own is None or not (own / "conftest.py").is_file():
        return []
    spec = importlib.util.spec_from_file_location("verify_conftest", own / "conftest.py")
    if spec is None or spec.loader is None:
        return []
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:  # it is the user's code
        raise VerificationError(f"{own / 'conftest.py'} cannot be read: {e!r}") from e
    return [module]


@contextmanager
def _isolated(own: Path | None) -> Iterator[None]:
    """No options and plugins from the environment, no byte code in folders, no modules kept."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PYTEST_")}
    path, wrote = list(sys.path), sys.dont_write_bytecode
    for name in kept:
        del os.environ[name]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        os.environ.update(kept)
        sys.path[:], sys.dont_write_bytecode = path, wrote
        # The next project's tests may have the same names.
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if own is not None and file and Path(file).is_relative_to(own):
                del sys.modules[name]
