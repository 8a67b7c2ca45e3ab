"""What the harness tells a peer, by environment variables."""

import os
import sys
from pathlib import Path

MODEL = Path(os.environ["BENCH_MODEL"])  #: holds model/ with the weights and bundle/
PORT = int(os.environ["BENCH_PORT"])
WORKERS = int(os.environ["BENCH_WORKERS"])
BATCH = int(os.environ["BENCH_BATCH"])  #: 0: no batching
THREADS = max(1, len(os.sched_getaffinity(0)) // WORKERS)  #: of a worker's engine

# For pipeline.py, which the tuned ones share with the limit.
sys.path.insert(0, str(Path(__file__).parents[1]))
