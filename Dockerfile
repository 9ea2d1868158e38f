# litefence with LiteFS below it, for an application to be put on top of:
# docs/deployment.md, and deploy/compose for an example.
#
#   docker build -t litefence .
#
# Where no image registry can be reached, `make image` builds with this same file
# from a base of its own making and from binaries built outside (PREBUILT).
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${GO_IMAGE} AS build
# A directory of the context with litefence, litefs and notes; empty: they are
# built here.
ARG PREBUILT=
ARG VERSION=dev
WORKDIR /src
# LiteFS by itself: it changes only with its go.mod. It needs cgo.
COPY Makefile ./
COPY test/litefs test/litefs
# Out of bin/, which COPY may fill with a stranger's.
RUN [ -n "$PREBUILT" ] || { make bin/litefs && install -D -t /out bin/litefs; }
COPY . .
RUN if [ -n "$PREBUILT" ]; then install -D -t /out "$PREBUILT/litefence" "$PREBUILT/litefs"; \
    else make bin/litefence VERSION="$VERSION" && install -D -t /out bin/litefence; fi

FROM ${BASE_IMAGE} AS litefence
# fuse3 has fusermount3, with which LiteFS mounts; ca-certificates is for
# applications.
RUN if ! command -v fusermount3 || [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then \
      apt-get update && \
      apt-get install -y --no-install-recommends ca-certificates fuse3 && \
      rm -rf /var/lib/apt/lists/*; \
    fi
# The application's user. litefence and LiteFS themselves have to be root.
RUN groupadd --gid 10001 app && \
    useradd --uid 10001 --gid app --no-log-init --create-home --shell /bin/sh app && \
    mkdir -p /litefs /fenced /tls && \
    install -d -m 700 /data/litefs /data/litefence
COPY --from=build /out/litefence /out/litefs /usr/local/bin/
COPY deploy/image/as-app /usr/local/bin/
COPY deploy/image/litefence.yml deploy/image/litefs.yml /etc/
# LiteFS's data and litefence's vote: give each node a volume of its own.
VOLUME /data
EXPOSE 7400 20280
# Alive: the daemon answers on its socket. Not: primary, nor ready. A node that is
# cut off is alive, and killing it would not help.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["/bin/sh", "-c", "litefence status >/dev/null"]
# It hands its role on first: give it 20 s (--stop-timeout).
STOPSIGNAL SIGTERM
ENTRYPOINT ["litefence", "run", "--"]
CMD ["sleep", "infinity"]
ARG VERSION=dev
ARG REVISION=
LABEL org.opencontainers.image.title="litefence" \
      org.opencontainers.image.description="A fence over LiteFS: writes pass only while a majority of nodes vouches for this one" \
      org.opencontainers.image.source="https://github.com/litefence/litefence" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The application of deploy/compose: --target notes.
FROM ${GO_IMAGE} AS notes-build
ARG PREBUILT=
WORKDIR /src
COPY . .
RUN [ -n "$PREBUILT" ] || CGO_ENABLED=0 go build -C deploy/compose/app -trimpath -o /src/bin/notes .
RUN install -D -t /out "${PREBUILT:-bin}/notes"

FROM litefence AS notes
COPY --from=notes-build /out/notes /usr/local/bin/
CMD ["as-app", "notes"]

# Without a --target: litefence alone.
FROM litefence
