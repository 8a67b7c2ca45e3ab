from pathlib import Path

import psutil
import pytest

from pixloop.aws.rehearsal.model_server import ModelServer
from pixloop.errors import ServingError


def test_whatever_goes_wrong_at_the_start_leaves_no_server(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(server: ModelServer) -> str:
        raise OSError("the log cannot be read")

    monkeypatch.setattr(ModelServer, "_wait_for_address", fail)
    with pytest.raises(ServingError, match="log cannot be read"):
        ModelServer(archive, tmp_path, {})
    running = [p for p in psutil.Process().children() if str(tmp_path / "model") in p.cmdline()]
    assert running == []
