# docker build --target cpu --tag videomamba:cpu .       docker run --rm -v "$PWD:/data" videomamba:cpu predict clip.mp4
# docker build --target gpu --tag videomamba:gpu .       docker run --rm --gpus all -v "$PWD:/data" videomamba:gpu doctor
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS wheel
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

# The threads of the kernels need libgomp. Files that the container writes into /data belong to user 1000.
FROM python:${PYTHON}-slim AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && python -m pip install --no-cache-dir uv==0.13.8 \
    && useradd --uid 1000 --create-home videomamba
COPY --from=wheel /wheels /wheels
ARG TORCH=torch==2.13.0
ARG EXTRAS=plot,train
WORKDIR /data
ENTRYPOINT ["videomamba"]

# PyTorch without CUDA: gigabytes less.
FROM base AS cpu
RUN uv pip install --system --no-cache --torch-backend cpu "$TORCH" "$(echo /wheels/*.whl)[$EXTRAS]"
USER videomamba

# The host needs the driver and NVIDIA's container toolkit; CUDA comes with PyTorch.
FROM base AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN uv pip install --system --no-cache "$TORCH" "$(echo /wheels/*.whl)[$EXTRAS]"
USER videomamba
