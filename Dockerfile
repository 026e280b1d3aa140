# docker build -t tidecast:0.1.0-cpu .                             a worker and every command but `train`
# docker build -t tidecast:0.1.0-cuda --build-arg VARIANT=cuda .   torch with CUDA as well: training, and workers on a GPU
# The interpreter is the one that the tests run on.
ARG PYTHON=3.11.13
ARG VARIANT=cpu

FROM python:${PYTHON}-slim-bookworm AS build
ARG VARIANT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock requirements-dev.lock deploy/docker/pick.py ./
# --no-deps: the lock has all of them, and the variant leaves some out on purpose.
RUN python -m venv /opt/tidecast \
    && python pick.py requirements.lock --variant "$VARIANT" > runtime.txt \
    && /opt/tidecast/bin/pip install --no-compile --no-deps --require-hashes -r runtime.txt
# The C kernels are compiled by the ziglang wheel, so the image needs no compiler of Debian's.
RUN python pick.py requirements-dev.lock \
        --only hatchling,editables,packaging,pathspec,pluggy,tomlkit,trove-classifiers,ziglang > build.txt \
    && pip install --no-deps --require-hashes -r build.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY model_core model_core
COPY stream_app stream_app
# Not compiled: torch's tests of itself, some of which are written for newer interpreters.
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/tidecast/bin/pip install --no-compile --no-deps /wheels/*.whl \
    && /opt/tidecast/bin/pip uninstall --yes pip \
    && python -m compileall -q -j 0 -x torch/testing/_internal /opt/tidecast

FROM python:${PYTHON}-slim-bookworm AS runtime
# The folder's owner becomes that of a new volume mounted there.
RUN groupadd --gid 10001 tidecast \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/tidecast --shell /usr/sbin/nologin tidecast \
    && install --directory --owner 10001 --group 10001 /var/lib/tidecast/models
COPY --from=build /opt/tidecast /opt/tidecast
ENV PATH=/opt/tidecast/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TIDECAST__HTTP__HOST=0.0.0.0 \
    TIDECAST__MODELS__REGISTRY=/var/lib/tidecast/models
WORKDIR /var/lib/tidecast
USER 10001:10001
EXPOSE 9464
EXPOSE 9480
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidecast"]
CMD ["worker", "--config", "/etc/tidecast/tidecast.toml"]

FROM runtime AS runtime-cpu
ENV TIDECAST__DEVICE=cpu

FROM runtime AS runtime-cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility TIDECAST__DEVICE=auto

# hadolint ignore=DL3006
FROM runtime-${VARIANT}
