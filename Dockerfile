# PostgreSQL's official image with pg_background in it:
#
#   docker build -t postgres-pg_background --build-arg PG_MAJOR=17 .
#
# Run CREATE EXTENSION pg_background in each database that uses it.

ARG PG_MAJOR=17

FROM postgres:${PG_MAJOR}-bookworm AS build
ARG PG_MAJOR
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update -qq && \
    apt-get install -y -qq --no-install-recommends build-essential ca-certificates curl && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /pg_background
# Before the rest, which changes more often.
COPY ci ci
RUN ci/setup rust
ENV PATH=/root/.cargo/bin:$PATH
COPY . .
# DESTDIR puts the directories of the server below /out.
RUN ci/setup && DESTDIR=/out ci/install && strip --strip-unneeded "/out/usr/lib/postgresql/$PG_MAJOR/lib/pg_background.so"
RUN mkdir -p /out/usr/share/doc/pg_background && cp LICENSE /out/usr/share/doc/pg_background/ && \
    ci/package notices >/out/usr/share/doc/pg_background/NOTICES

# The extension alone, to be mounted into the container of a server, 18 or later. docs/operating.md has the two settings.
#
#   docker build -t pg_background --target volume --build-arg PG_MAJOR=18 .
FROM scratch AS volume
ARG PG_MAJOR
COPY --from=build /out/usr/lib/postgresql/${PG_MAJOR}/lib /lib
COPY --from=build /out/usr/share/postgresql/${PG_MAJOR}/extension /share/extension
COPY --from=build /out/usr/share/doc/pg_background /share/doc/pg_background

FROM postgres:${PG_MAJOR}-bookworm
COPY --from=build /out /
