# Orlop's images. Each is the function's program and its files on an empty root; no shell, no libc, no distribution.
#
#     docker build -t orlop-hello .                   the example `hello`, ready for Lambda
#     docker build -t orlop --target full .           a base that takes any component: the host and the compiler
#     docker build -t orlop-lean --target lean .      a base that takes precompiled components: the host alone
#     docker build -t orlop-small --target small .    half of that: no WASI 0.3, and no requests out of a sandbox
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

FROM ${RUST} AS source
ARG CARGO
WORKDIR /orlop
RUN rustup target add wasm32-wasip2
COPY . .
# What cargo downloads and compiles stays with the builder, in no layer, so that a rebuild compiles only what changed.
# Cargo's whole home is there because its locks are: builds may run side by side. (`sharing=locked` on two mounts hangs in
# the podman of Debian 12.)
ENV CARGO_HOME=/var/cache/orlop/home CARGO_TARGET_DIR=/var/cache/orlop/target
RUN --mount=type=cache,target=/var/cache/orlop \
    case "$CARGO" in *auditable*) cargo install --locked --root /usr/local cargo-auditable ;; esac

FROM source AS host
ARG CARGO
RUN --mount=type=cache,target=/var/cache/orlop \
    $CARGO bootstrap --locked \
    && install -D "$CARGO_TARGET_DIR/$(rustc --print host-tuple)/release/bootstrap" /image/var/runtime/bootstrap \
    && install -d -m 1777 /image/tmp

FROM source AS small-host
ARG CARGO
# Both programs have one name, and may be built side by side.
ENV CARGO_TARGET_DIR=/var/cache/orlop/small-target
RUN --mount=type=cache,target=/var/cache/orlop \
    $CARGO small-bootstrap --locked \
    && install -D "$CARGO_TARGET_DIR/$(rustc --print host-tuple)/release/bootstrap" /image/var/runtime/bootstrap \
    && install -d -m 1777 /image/tmp

FROM source AS tool
ARG CARGO
RUN --mount=type=cache,target=/var/cache/orlop \
    $CARGO tool --locked \
    && install "$CARGO_TARGET_DIR/$(rustc --print host-tuple)/release/orlop" /usr/local/bin/

FROM tool AS hello
RUN --mount=type=cache,target=/var/cache/orlop \
    cargo build --locked --release --target wasm32-wasip2 --package hello \
    && orlop compile "$CARGO_TARGET_DIR/wasm32-wasip2/release/hello.wasm" -o /hello.cwasm

# On Lambda the platform mounts /tmp, elsewhere `--tmpfs /tmp` does. Nothing else is ever written.
FROM scratch AS lean
COPY --from=host /image /
WORKDIR /var/task
ENTRYPOINT ["/var/runtime/bootstrap"]

# What needs more than it has, a component for WASI 0.3 or a function that is granted requests, ends its Init with an error.
FROM scratch AS small
COPY --from=small-host /image /
WORKDIR /var/task
ENTRYPOINT ["/var/runtime/bootstrap"]

# Where `bootstrap` finds a component without an artifact that fits, it hands over to the `orlop` beside it.
FROM lean AS full
COPY --from=tool /usr/local/bin/orlop /var/runtime/
ENV PATH=/var/runtime

# The component itself is left out: nothing in this image could compile it.
FROM small
COPY --from=hello /hello.cwasm /var/task/
CMD ["hello"]
