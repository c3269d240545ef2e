# The driver, the Prefect worker, the Prefect and MLflow servers, and Ray nodes that sweep.
#   docker build -f infra/images/cpu.Dockerfile -t entropy-sentinel:cpu .
FROM python:3.11-slim-bookworm

# Compilers of numba and vLLM's CPU build at run time, the allocator that the latter preloads, and
# wget, by which KubeRay asks after a node's health.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ libnuma1 libtcmalloc-minimal4 tini wget \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY infra/locks/driver.txt infra/locks/
# --no-deps: the lock is complete, and leaves out torchvision on purpose.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --no-deps --extra-index-url "$TORCH_INDEX" -r infra/locks/driver.txt

COPY pyproject.toml README.md LICENSE ./
COPY entropy entropy
COPY estimators estimators
COPY tasks tasks
COPY flows flows
COPY conf conf
# The sources go again: the installed package is the one copy that is imported.
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
 && rm -r build ./*.egg-info entropy estimators tasks flows \
 && useradd --create-home --uid 1000 sentinel \
 && mkdir --parents /data /home/sentinel/.cache/huggingface \
 && chown --recursive sentinel /data /home/sentinel/.cache

ENV DO_NOT_TRACK=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    SENTINEL_STATE=/data
USER 1000
ENTRYPOINT ["tini", "--"]
CMD ["sentinel", "--help"]
