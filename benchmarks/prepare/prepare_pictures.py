"""Prepare a folder of pictures, as the pipeline's step does: PICTURES MADE."""

import sys
from pathlib import Path

from pixloop.config import DataConfig
from pixloop.data.prepare import prepare

if __name__ == "__main__":
    pictures, made = map(Path, sys.argv[1:])
    prepare(DataConfig(train=str(pictures)), pictures, None, made / "set", made / "work")
