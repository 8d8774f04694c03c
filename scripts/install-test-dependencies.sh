#!/bin/sh
# Installs what the tests need beside npm's packages: a Redis (or Valkey) server on PATH.
# The tests start and stop servers of their own; no service needs to run.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

for server in redis-server valkey-server; do
  if have "$server"; then
    echo "test:setup: $server is installed ($(command -v "$server"))."
    exit 0
  fi
done

advise() {
  cat >&2 <<'ADVICE'
test:setup: please install a Redis or Valkey server, so that redis-server or valkey-server is on PATH:
  Debian, Ubuntu   apt-get install redis-server
  Fedora, RHEL     dnf install valkey
  Alpine           apk add redis
  Arch             pacman -S valkey
  macOS            brew install redis
  Windows          use WSL
ADVICE
  exit 1
}

have apt-get || { echo "test:setup: there is no apt-get here." >&2; advise; }

if [ "$(id -u)" -eq 0 ]; then
  as_root() { env "$@"; }
elif have sudo; then
  as_root() { sudo env "$@"; }
else
  echo "test:setup: installing needs root, and there is no sudo." >&2
  advise
fi

# One unreachable source among several need not matter; the installation tells.
as_root DEBIAN_FRONTEND=noninteractive apt-get update ||
  echo "test:setup: apt-get update failed; trying to install all the same." >&2
as_root DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server || advise

if ! have redis-server; then
  echo "test:setup: redis-server was installed, but is not on PATH." >&2
  exit 1
fi
echo "test:setup: redis-server is installed. The system's own service is not needed and may be disabled."
