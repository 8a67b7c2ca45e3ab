import hashlib
import re
from importlib.resources import files

VENDOR = files("pixloop.web") / "static" / "vendor"


def test_libraries_are_those_that_the_table_names():
    table = (VENDOR / "README.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"^\| `([\w.]+)` \|.*\| `([0-9a-f]{64})` \|$", table, re.M))
    there = {file.name for file in VENDOR.iterdir() if file.name.endswith((".js", ".css"))}
    assert set(named) == there
    for name, sha256 in named.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha256
        assert (VENDOR / f"{name.partition('.')[0]}.LICENSE").is_file()
