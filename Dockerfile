# The CPU server: one binary on a slim base, for any x86-64 or ARM machine (kernels are chosen at run
# time). It runs as a user without rights, writes nothing outside the volume of models, and takes the
# same flags as everywhere else:
#
#   docker build -t outcrop .
#   docker run -v "$PWD/models:/models" outcrop keys create app
#   docker run --read-only -p 8080:8080 -v "$PWD/models:/models" \
#       -e OUTCROP_MODEL=/models/FILE.gguf outcrop
#
# For a machine with an NVIDIA GPU, whose driver is for CUDA 13 or newer:
#
#   docker build --target cuda -t outcrop:cuda .
#   docker run --gpus all -p 8080:8080 -v "$PWD/models:/models" -e OUTCROP_MODEL=/models/FILE.gguf \
#       outcrop:cuda
#
# One image serves all families from Turing (T4) to Hopper (H200), and the CPU where there is no GPU.
# --build-arg CUDA_COMPUTE_CAP=90 compiles the kernels for one family only. This target has been built
# by nobody yet, and no GPU has run it.
#
# Without a Docker daemon or a registry, scripts/build-image builds and tries the same file.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin outcrop && cp target/release/outcrop /outcrop
RUN mkdir /models

FROM nvidia/cuda:13.0.1-devel-ubuntu22.04 AS cuda-toolkit

FROM rust:1.95-bookworm AS build-cuda
ARG CUDA_COMPUTE_CAP=75,80,90
ENV CUDA_COMPUTE_CAP=$CUDA_COMPUTE_CAP CUDA_HOME=/usr/local/cuda
# By its own name: the one without a version is a link to a link.
COPY --from=cuda-toolkit /usr/local/cuda-13.0 /usr/local/cuda
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin outcrop --features cuda && \
    cp target/release/outcrop /outcrop
RUN mkdir /models

# It has cuBLASLt; the driver comes from the host. Its C library is newer than the one built against.
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04 AS cuda
COPY --from=build-cuda /outcrop /usr/local/bin/outcrop
COPY LICENSE /usr/share/doc/outcrop/LICENSE
COPY --from=build-cuda --chown=10001:10001 /models /models
ENV OUTCROP_HOME=/models HF_HOME=/models/huggingface
VOLUME /models
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["outcrop"]
CMD ["serve", "--listen", "0.0.0.0:8080"]

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="outcrop" \
    org.opencontainers.image.description="DeepSeek-R1 models behind the Bedrock Converse API" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /outcrop /usr/local/bin/outcrop
COPY LICENSE /usr/share/doc/outcrop/LICENSE
# An unnamed volume takes over this folder's owner.
COPY --from=build --chown=10001:10001 /models /models
# What the program downloads goes into the volume too.
ENV OUTCROP_HOME=/models HF_HOME=/models/huggingface
VOLUME /models
USER 10001:10001
EXPOSE 8080
# Bash speaks HTTP here, so that the image needs no client of its own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5m CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["outcrop"]
CMD ["serve", "--listen", "0.0.0.0:8080"]
