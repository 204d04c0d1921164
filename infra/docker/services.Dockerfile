# syntax=docker/dockerfile:1
# What the local overlay and the tests need around the product: Postgres, a MongoDB-wire server and an S3 store.
# It is never part of the product's own image (the MongoDB-wire server is GPL-2.0, a process of its own).
#   docker build -f infra/docker/services.Dockerfile -t warehouse-services .
# With no Go image at hand, put the binary into dist/ (GOBIN=dist go install .../versitygw@v1.8.0) and add
#   --build-arg OBJECTS=binary
ARG BASE_IMAGE=python:3.11-slim
ARG GO_IMAGE=golang:1.25-bookworm
ARG OBJECTS=build

FROM ${GO_IMAGE} AS objects-build
RUN CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags "-s -w" github.com/versity/versitygw/cmd/versitygw@v1.8.0

FROM ${BASE_IMAGE} AS objects-binary
COPY dist/versitygw /out/versitygw

FROM objects-${OBJECTS} AS objects

FROM ${BASE_IMAGE} AS environment
COPY requirements/services.lock /src/
RUN python3 -m venv /opt/services \
    && /opt/services/bin/pip install --no-cache-dir --require-hashes --requirement /src/services.lock

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="warehouse-services" \
      org.opencontainers.image.description="Postgres, a MongoDB-wire server and an S3 store for trying the warehouse"
COPY --from=environment /opt/services /opt/services
COPY --from=objects /out/versitygw /usr/local/bin/versitygw
COPY --chmod=0755 infra/docker/services/ /usr/local/bin/
# Postgres looks its user up by name.
RUN echo 'services:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd
USER 10001:10001
