# syntax=docker/dockerfile:1
# The command `ssps`, on a CPU or on CUDA GPUs.
#
#   docker build -t ssps .
#   docker build -t ssps:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm -v "$PWD:/work" ssps train hparams/simclr_ssps.yaml
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" ssps:cuda train …
#
# BASE is any image with Python 3.10 to 3.13 and apt; for CUDA's own libraries and
# compiler, one that is derived from nvidia/cuda. PyTorch's wheels bring the
# libraries that they need, so the slim image serves for GPUs as well.
ARG BASE=python:3.12-slim
FROM ${BASE}

# torch and torchaudio come from one index: cpu (1.5 GB in all), cu128 and so on.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_VERSION=2.11.0
ARG EXTRAS=demo,report,onnx,hub
ARG USER_ID=1000

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

# .m4a is decoded by ffmpeg. The version is the base image's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/*

RUN pip install "torch==${TORCH_VERSION}" "torchaudio==${TORCH_VERSION}" \
    --index-url "${TORCH_INDEX}"

COPY . /source
RUN pip install "/source[${EXTRAS}]" \
    && rm -rf /source \
    && useradd --create-home --uid "${USER_ID}" ssps \
    && mkdir /work && chown ssps /work

USER ${USER_ID}
WORKDIR /work
ENTRYPOINT ["ssps"]
CMD ["--help"]
