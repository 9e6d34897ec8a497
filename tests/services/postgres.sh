#!/usr/bin/env bash
# The entrypoint of Docker's official image of PostgreSQL in short: it begins as root, gives
# directories to the user `postgres`, becomes that user, makes a database, and runs the server.
set -Eeo pipefail
if [ "$(id -u)" = 0 ]; then
    echo "map=$(xargs </proc/self/uid_map) owned=$(stat -c %u:%g:%a /srv/owned) run=$(stat -c %U:%a /run/postgresql)"
    mkdir -p "$PGDATA"
    chmod 00700 "$PGDATA"
    mkdir -p /var/run/postgresql
    chmod 03775 /var/run/postgresql
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "${BASH_SOURCE[0]}" "$@"
fi
echo "user=$(id -un):$(id -gn) data=$(stat -c %U:%a "$PGDATA")"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?}"
    initdb --username=postgres --auth-host=scram-sha-256 --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --no-sync >/dev/null
    pg_ctl -o "-c listen_addresses='' -p 5432" -w start >/dev/null
    psql --no-psqlrc -v ON_ERROR_STOP=1 --username=postgres -c 'create table t (n int); insert into t values (41)' >/dev/null
    pg_ctl -m fast -w stop >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
exec "$@"
