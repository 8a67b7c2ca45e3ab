"""OpenVINO's runtime: imported without what comes with it, and kept for as long as the process."""

import functools
import sys
import threading
from typing import Any, cast

_core_lock = threading.Lock()


def openvino_core() -> Any:
    """OpenVINO's ``Core``, one for as long as the process lives.

    When its CPU plugin is loaded, it gives the thread at work a stack for signals. It is unloaded
    with the last that uses it, and unmaps that stack in whichever thread this happens. The next
    signal of the first thread then ends the process (SIGSEGV): Ctrl-C on a server that has changed
    its model is enough. So it stays loaded.
    """
    with _core_lock:
        return _only_core()


@functools.cache
def _only_core() -> Any:
    return import_openvino().Core()


def import_openvino() -> Any:
    """OpenVINO's runtime, without its converter.

    ``import openvino`` also tries to import the converter, which pulls in a telemetry client and
    takes longer than the runtime itself; it does without when that import fails.
    """
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    sys.modules[converter] = cast(Any, None)
    try:
        import openvino
    finally:
        del sys.modules[converter]
    return openvino
