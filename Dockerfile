# Orlop's images. Each is the function's program and its files on an empty root; no shell, no libc, no distribution.
#
#     docker build -t orlop-hello .                   the example `hello`, ready for Lambda
#     docker build -t orlop --target full .           a base that takes any component: the host and the compiler
#     docker build -t orlop-lean --target lean .      a base that takes precompiled components: the host alone
#
# An image of your own:
#
#     FROM orlop
#     COPY logic.wasm /var/task/
#     RUN ["orlop", "compile", "logic.wasm"]
#
# It works without the last line too, and compiles at every cold start then. Podman takes the same commands.

# With `--build-arg CARGO="cargo auditable"` the programs carry the list of the crates they are made of.

ARG RUST=docker.io/library/rust:1.95-bookworm
ARG CARGO=cargo

FROM ${RUST} AS build
ARG CARGO
WORKDIR /orlop
RUN rustup target add wasm32-wasip2
COPY . .
# What cargo downloads and compiles stays with the builder, in no layer, so that a rebuild compiles only what changed.
# Cargo's whole home is there because its locks are: builds may run side by side. (`sharing=locked` on two mounts hangs in
# the podman of Debian 12.)
ENV CARGO_HOME=/var/cache/orlop/home CARGO_TARGET_DIR=/var/cache/orlop/target
RUN --mount=type=cache,target=/var/cache/orlop \
    case "$CARGO" in *auditable*) cargo install --locked cargo-auditable ;; esac \
    && $CARGO bootstrap --locked \
    && install -D "$CARGO_TARGET_DIR/$(rustc --print host-tuple)/release/bootstrap" /image/var/runtime/bootstrap \
    && install -d -m 1777 /image/tmp
RUN --mount=type=cache,target=/var/cache/orlop \
    $CARGO tool --locked \
    && install "$CARGO_TARGET_DIR/$(rustc --print host-tuple)/release/orlop" /usr/local/bin/

FROM build AS hello
RUN --mount=type=cache,target=/var/cache/orlop \
    cargo build --locked --release --target wasm32-wasip2 --package hello \
    && orlop compile "$CARGO_TARGET_DIR/wasm32-wasip2/release/hello.wasm" -o /hello.cwasm

# On Lambda the platform mounts /tmp, elsewhere `--tmpfs /tmp` does. Nothing else is ever written.
FROM scratch AS lean
COPY --from=build /image /
WORKDIR /var/task
ENTRYPOINT ["/var/runtime/bootstrap"]

# Where `bootstrap` finds a component without an artifact that fits, it hands over to the `orlop` beside it.
FROM lean AS full
COPY --from=build /usr/local/bin/orlop /var/runtime/
ENV PATH=/var/runtime

# The component itself is left out: nothing in this image could compile it.
FROM lean
COPY --from=hello /hello.cwasm /var/task/
CMD ["hello"]
