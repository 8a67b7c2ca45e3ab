#!/usr/bin/env bash
# Everything that `make bench-serving` needs: environments from the locks, then run.py.
#   bash benchmarks/serving/bench.sh [--quick] [--data FOLDER] [--rounds N] ...
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$here/.work
bin=$root/.venv/bin
export UV_PYTHON_DOWNLOADS=never

need() {
    command -v "$1" >/dev/null || { echo "bench-serving needs $1: $2" >&2; exit 1; }
}

# environment NAME: from requirements-NAME.lock, made anew where the lock has changed.
environment() {
    local folder=$work/env-$1 lock=$here/requirements-$1.lock
    if ! cmp -s "$lock" "$folder/lock"; then
        echo "installing what is in $(basename "$lock")" >&2
        "$bin/uv" venv --quiet --clear --python "$bin/python" "$folder"
        "$bin/uv" pip install --quiet --python "$folder/bin/python" --require-hashes -r "$lock"
        cp "$lock" "$folder/lock"
    fi
}

[ -x "$bin/uv" ] || { echo "pixloop is not installed in $root/.venv; run: make install" >&2; exit 1; }
need wrk "install the package wrk (Debian, Ubuntu: apt-get install wrk)"
mkdir -p "$work"
case " $* " in
    *" --quick "*) ;;
    *)
        need java "TorchServe runs on it (Debian, Ubuntu: apt-get install openjdk-17-jre-headless)"
        environment peers
        environment bentoml
        ;;
esac
exec "$bin/python" "$here/run.py" "$@"
