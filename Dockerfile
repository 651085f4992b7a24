# Two ways to the very same image, FROM scratch with one static, stripped binary in it:
#   docker build -t cutover .                     compiles from source (pulls a Rust image)
#   docker build -t cutover --target prebuilt .   takes target/image/release/cutover, needs no network (.ci/image does both steps)
# The symbols of what was compiled from source:
#   docker build --target symbols --output . .    cutover.debug
# `prebuilt` stands before `build` because the classic builder runs every stage above its target.

FROM scratch AS edge
LABEL org.opencontainers.image.title="cutover" \
      org.opencontainers.image.description="The edge container of a compose file: blue/green flips without a failed request" \
      org.opencontainers.image.licenses="MIT"
EXPOSE 80
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["/bin/cutover", "status"]
ENTRYPOINT ["/bin/cutover"]
CMD ["run"]

FROM edge AS prebuilt
ARG BINARY=target/image/release/cutover
COPY ${BINARY} /bin/cutover

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# Static: hickory resolves names, so nothing of glibc is loaded at run time.
RUN target="$(uname -m)-unknown-linux-gnu" \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin cutover --target "$target" \
 && mkdir /out \
 && cd /out \
 && objcopy --only-keep-debug "/src/target/$target/release/cutover" cutover.debug \
 && objcopy --strip-all --add-gnu-debuglink=cutover.debug "/src/target/$target/release/cutover" cutover

FROM scratch AS symbols
COPY --from=build /out/cutover.debug /

FROM edge AS from-source
COPY --from=build /out/cutover /bin/cutover
