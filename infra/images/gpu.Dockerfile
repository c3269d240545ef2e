# Ray nodes that load models: Ray, vLLM, NumPy, PyArrow and this package; no Prefect, no MLflow.
#   docker build -f infra/images/gpu.Dockerfile -t entropy-sentinel:gpu .
# vLLM's wheels bring CUDA's libraries; the host brings the driver and its container toolkit.
FROM python:3.11-slim-bookworm

# Triton compiles kernels at run time; KubeRay asks after a node's health by wget.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc g++ libnuma1 tini wget \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY infra/locks/worker.txt infra/locks/
# --no-deps: the lock is complete, and leaves out torchvision on purpose.
RUN pip install --no-cache-dir --no-deps -r infra/locks/worker.txt

COPY pyproject.toml README.md LICENSE ./
COPY entropy entropy
COPY estimators estimators
COPY tasks tasks
COPY flows flows
# The sources go again: the installed package is the one copy that is imported.
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
 && rm -r build ./*.egg-info entropy estimators tasks flows \
 && useradd --create-home --uid 1000 sentinel \
 && mkdir --parents /data /home/sentinel/.cache/huggingface \
 && chown --recursive sentinel /data /home/sentinel/.cache

ENV DO_NOT_TRACK=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    VLLM_NO_USAGE_STATS=1
USER 1000
ENTRYPOINT ["tini", "--"]
CMD ["ray", "--version"]
