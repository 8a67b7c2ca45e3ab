import os
import socket
import sys

import pytest
from tests.annotation.label_studio.real import World

from pixloop.annotation.label_studio.credentials import credentials
from pixloop.annotation.label_studio.processes import (
    Running,
    port_is_free,
    read_running,
    start,
    stop,
    wait_until,
)
from pixloop.errors import AnnotationError
from pixloop.files import write_text


def test_a_process_is_found_again_and_stopped(tmp_path):
    file, log = tmp_path / "running.json", tmp_path / "log"
    command = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
    running = start(command, os.environ, "http://x", file, log)
    assert read_running(file) == running
    stop(running)
    assert read_running(file) is None


def test_a_number_that_another_process_has_now_is_not_ours(tmp_path):
    file = tmp_path / "running.json"
    write_text(file, Running(pid=os.getpid(), began=1.0, url="http://x").model_dump_json())
    assert read_running(file) is None
    write_text(file, "half a fi")
    assert read_running(file) is None


def test_one_that_ends_at_once_is_told_with_its_log(tmp_path):
    file, log = tmp_path / "running.json", tmp_path / "log"
    running = start([sys.executable, "-c", "raise SystemExit(3)"], os.environ, "u", file, log)
    with pytest.raises(AnnotationError, match="ended at once"):
        wait_until(running, lambda: False, "it", log, 30)


def test_a_busy_port_is_an_error_before_anything_is_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert not port_is_free(port)
        world = World(tmp_path, port=port)
        with pytest.raises(AnnotationError, match=f"port {port}: another program"):
            world.up()
    assert not (tmp_path / "data").exists()


def test_without_a_label_studio_sync_says_how_to_get_one(tmp_path):
    world = World(tmp_path)
    with pytest.raises(AnnotationError, match="annotate up"):
        world.sync()
    assert not world.studio.is_connected
    assert world.studio.status().url is None
    assert world.studio.down() == []


def test_credentials_are_made_once_for_their_owner_alone(tmp_path):
    file = tmp_path / "credentials.json"
    made = credentials(file)
    assert credentials(file) == made
    assert len(made.token) == 40
    assert file.stat().st_mode & 0o077 == 0
    file.write_text("{}")
    with pytest.raises(AnnotationError, match="damaged"):
        credentials(file)
