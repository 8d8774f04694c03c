#!/bin/sh
# Installs what the tests need beside npm's packages: a Redis (or Valkey) server, and Chromium.
# The tests start and stop servers and browsers of their own; no service needs to run.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

# One of them is enough; the first is what gets installed. CHROMIUM_PATH names one elsewhere.
have_server() { have redis-server || have valkey-server; }
have_browser() { [ -x "${CHROMIUM_PATH:-}" ] || [ -x /usr/bin/chromium ]; }

advise() {
  cat >&2 <<'ADVICE'
test:setup: please install what is missing:
  a Redis or Valkey server, so that redis-server or valkey-server is on PATH
    Debian, Ubuntu   apt-get install redis-server
    Fedora, RHEL     dnf install valkey
    Alpine           apk add redis
    Arch             pacman -S valkey
    macOS            brew install redis
    Windows          use WSL
  Chromium or Chrome, as /usr/bin/chromium or where CHROMIUM_PATH says
    Debian           apt-get install chromium
    Fedora           dnf install chromium, and CHROMIUM_PATH=/usr/bin/chromium-browser
    Ubuntu, macOS    Google Chrome, and CHROMIUM_PATH=<its executable>
ADVICE
  exit 1
}

missing=""
have_server || missing="$missing redis-server"
have_browser || missing="$missing chromium"
if [ -z "$missing" ]; then
  echo "test:setup: everything is installed."
  exit 0
fi

have apt-get || { echo "test:setup: there is no apt-get here to install$missing." >&2; advise; }

if [ "$(id -u)" -eq 0 ]; then
  as_root() { env "$@"; }
elif have sudo; then
  as_root() { sudo env "$@"; }
else
  echo "test:setup: installing$missing needs root, and there is no sudo." >&2
  advise
fi

# One unreachable source among several need not matter; the installation tells.
as_root DEBIAN_FRONTEND=noninteractive apt-get update ||
  echo "test:setup: apt-get update failed; trying to install all the same." >&2
# shellcheck disable=SC2086 # several packages
as_root DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing || advise

if ! have_server || ! have_browser; then
  echo "test:setup:$missing was installed, but is not where it should be." >&2
  advise
fi
echo "test:setup: installed$missing. The system's own Redis service is not needed and may be disabled."
