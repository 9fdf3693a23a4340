#!/bin/sh
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes the database on the first start, then runs the server. Settings, as the usual PostgreSQL images have them:
#   POSTGRES_USER (postgres), POSTGRES_DB (the user's name), POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE,
#   POSTGRES_HOST_AUTH_METHOD (scram-sha-256); and POSTGRES_TLS: off (the server refuses it), on, or required.
set -eu

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
tls=${POSTGRES_TLS:-off}
password=${POSTGRES_PASSWORD:-}
if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    password=$(cat "$POSTGRES_PASSWORD_FILE")
fi

if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres "$PGDATA"
    chmod 700 "$PGDATA"
    exec setpriv --reuid postgres --regid postgres --init-groups sh "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # The password goes through a pipe: process arguments can be read by everyone.
    printf '%s\n' "${password:-none}" | initdb --username "$user" --pwfile /dev/stdin --auth-local trust \
        --auth-host "$method" --encoding UTF8 --no-sync >/dev/null
    if [ "$tls" = required ]; then
        printf 'hostnossl all all all reject\n' >"$PGDATA/pg_hba.conf.new"
    fi
    cat >>"$PGDATA/pg_hba.conf.new" <<RULES
local all all trust
host all all 127.0.0.1/32 trust
host all all all $method
RULES
    mv "$PGDATA/pg_hba.conf.new" "$PGDATA/pg_hba.conf"
    if [ "$tls" != off ]; then
        # In the file and not in the arguments, so that ALTER SYSTEM can turn it off.
        printf "ssl = on\nssl_cert_file = '%s'\nssl_key_file = '%s'\n" \
            /etc/postgresql/tls/server.crt /etc/postgresql/tls/server.key >>"$PGDATA/postgresql.conf"
    fi
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s"\n' "$database" | postgres --single -D "$PGDATA" postgres >/dev/null
    fi
fi

# A sandbox outlives a killed server, but not a power cut: that is what fsync would cost time for.
exec "$@" -c listen_addresses='*' -c fsync=off
