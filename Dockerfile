# The CPU server: one binary on a slim base, for any x86-64 or ARM machine (kernels are chosen at run
# time). It runs as a user without rights, writes nothing outside the volume of models, and takes the
# same flags as everywhere else:
#
#   docker build -t outcrop .
#   docker run -v "$PWD/models:/models" outcrop keys create app
#   docker run --read-only -p 8080:8080 -v "$PWD/models:/models" \
#       -e OUTCROP_MODEL=/models/FILE.gguf outcrop
#
# Without a Docker daemon or a registry, scripts/build-image builds and tries the same file.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin outcrop && cp target/release/outcrop /outcrop
RUN mkdir /models

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
