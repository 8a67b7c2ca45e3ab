# One image to train, to process and to serve, on SageMaker and on Lambda.
#
#   docker build --tag pixloop .                              for CPUs
#   docker build --tag pixloop --build-arg ACCELERATOR=cuda . for NVIDIA GPUs
#
# Layers from what changes least to what changes most: system, torch, other libraries, pixloop.
ARG BASE=python:3.12-slim

FROM ${BASE} AS tools
COPY requirements-uv.lock requirements-image.lock /locks/
RUN python3 -m venv /opt/tools \
 && /opt/tools/bin/python -m pip install --quiet --no-cache-dir --require-hashes \
        -r /locks/requirements-uv.lock
# The lock in two: what comes with torch is large, differs by accelerator, and changes rarely.
RUN awk -v locks=/locks ' \
        /^[a-z]/ { torch = /^(torch|torchvision|triton)==/ || /^(nvidia|cuda)-/ } \
        { print > (locks (torch ? "/torch.lock" : "/libraries.lock")) }' \
        /locks/requirements-image.lock

FROM tools AS code
# All that pyproject.toml puts into the wheel.
COPY Dockerfile LICENSE README.md pyproject.toml requirements*.lock /source/
COPY src /source/src
# Installed beside the environment, so that one small layer holds it. Its bytecode is not checked
# against the source's time: layers need not keep times.
RUN cd /source \
 && /opt/tools/bin/uv build --quiet --system-certs --wheel --out-dir /wheels \
        --build-constraints requirements.lock --require-hashes \
 && /opt/tools/bin/uv pip install --quiet --no-deps --target /opt/pixloop/code /wheels/*.whl \
 && rm -rf /opt/pixloop/code/bin /opt/pixloop/code/.lock /opt/pixloop/code/pixloop/aws/checkout \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/pixloop/code

FROM ${BASE}
# Jobs run as root, as SageMaker asks; 'serve' goes on as this user (see pixloop.entrypoint).
RUN useradd --system --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin pixloop \
 && python3 -m venv --without-pip /opt/pixloop \
 && echo /opt/pixloop/code > "$(/opt/pixloop/bin/python -c \
        'import sysconfig; print(sysconfig.get_path("purelib"))')/pixloop.pth"

ARG ACCELERATOR=cpu
# Where torch without CUDA is. Empty: torch as the lock has it, from where the rest comes from.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=tools /locks/torch.lock /opt/pixloop/locks/
# On its own index the build without CUDA has other hashes: there the version alone is pinned.
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    cd /opt/pixloop/locks && set -- --no-deps --require-hashes -r torch.lock \
 && case "${ACCELERATOR}" in \
        cuda) ;; \
        cpu) test -z "${TORCH_INDEX}" || set -- --no-deps --index-url "${TORCH_INDEX}" \
                $(sed -nE 's/^((torch|torchvision)==[^ ]+).*/\1/p' torch.lock) ;; \
        *) echo "ACCELERATOR=${ACCELERATOR}: expected cpu or cuda" >&2; exit 2 ;; \
    esac \
 && /opt/tools/bin/uv pip install --quiet --no-cache --system-certs --compile-bytecode \
        --python /opt/pixloop/bin/python "$@"

COPY --from=tools /locks/libraries.lock /opt/pixloop/locks/
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    /opt/tools/bin/uv pip install --quiet --no-cache --system-certs --compile-bytecode \
        --python /opt/pixloop/bin/python --no-deps --require-hashes \
        -r /opt/pixloop/locks/libraries.lock

COPY --from=code /opt/pixloop/code /opt/pixloop/code

# Lambda's file system can be written in /tmp alone.
ENV PATH=/opt/pixloop/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/.cache \
    MPLCONFIGDIR=/tmp/.cache/matplotlib \
    NO_ALBUMENTATIONS_UPDATE=1
ARG ACCELERATOR=cpu
ARG VERSION=unknown
ARG COMMIT=
ENV PIXLOOP_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title="pixloop" \
      org.opencontainers.image.description="Trains, processes and serves image models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true" \
      com.amazonaws.sagemaker.capabilities.multi-models="true" \
      pixloop.accelerator="${ACCELERATOR}"
ENTRYPOINT ["python", "-m", "pixloop.entrypoint"]
