#!/usr/bin/env bash
# What the templates and the workflow are held against besides cfn-lint, which 'make test' runs:
# checkov for what is not safe, asl-validator for states that lead nowhere. Each tool lives in a
# folder of its own below .venv, as neither belongs among pixloop's dependencies.
set -euo pipefail
cd "$(dirname "$0")/../.."

uv=.venv/bin/uv
stacks=src/pixloop/aws/stacks
checkov=.venv/tools/checkov
asl=.venv/tools/asl-validator

if ! cmp -s requirements-checkov.lock "$checkov/installed.lock"; then
  "$uv" venv --quiet --clear --python .venv/bin/python "$checkov"
  "$uv" pip install --quiet --python "$checkov/bin/python" --require-hashes -r requirements-checkov.lock
  cp requirements-checkov.lock "$checkov/installed.lock"
fi
"$checkov/bin/checkov" --config-file .checkov.yaml --file "$stacks"/{learning,serving,network,page}.yaml

if ! command -v npm > /dev/null; then
  echo "asl-validator: skipped, there is no npm here"
  exit
fi
if ! cmp -s tests/tools/package-lock.json "$asl/installed.lock"; then
  mkdir -p "$asl"
  cp tests/tools/package.json tests/tools/package-lock.json "$asl"
  npm ci --prefix "$asl" --ignore-scripts --no-audit --no-fund --silent
  cp tests/tools/package-lock.json "$asl/installed.lock"
fi
"$asl/node_modules/.bin/asl-validator" --json-path "$stacks/workflow.asl.json"
