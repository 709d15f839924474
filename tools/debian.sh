#!/usr/bin/env bash
# Installs the Debian packages that some tests want and no npm package brings. Never fails: where it cannot install,
# it says what will be skipped, and why. What it installs is for the tests to start: no service of it runs, now or after
# the next boot.
set -u

# package, the command or file that shows it is there, what is skipped without it
wanted=(
  "chromium chromium the checks of pages in a browser"
  "softhsm2 softhsm2-util the tests of keys in a PKCS#11 token"
  "nginx-light nginx the tests behind nginx"
  "apache2-bin apache2 the tests behind Apache"
  "lua-socket /usr/share/lua/5.3/socket/http.lua the tests behind Apache"
  "haproxy haproxy the tests behind HAProxy"
  "caddy caddy the tests behind Caddy"
  "dovecot-imapd /usr/lib/dovecot/imap the tests of mail through Dovecot"
)

# Asked by Debian's packages before they start what they brought.
policy=/usr/sbin/policy-rc.d
refuse_starts() {
  [ -e "$policy" ] && return
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && trap 'rm -f "$policy"' EXIT
}

for line in "${wanted[@]}"; do
  read -r package shown skipped <<<"$line"
  PATH=$PATH:/usr/sbin:/sbin command -v "$shown" >/dev/null && continue
  [ -e "$shown" ] && continue
  if [ "$(id -u)" -ne 0 ]; then
    echo "debian: $package is missing, and only root may install it: skipping $skipped"
    continue
  fi
  if ! command -v apt-get >/dev/null; then
    echo "debian: $package is missing, and there is no apt-get here: skipping $skipped"
    continue
  fi
  echo "debian: installing $package"
  refuse_starts
  export DEBIAN_FRONTEND=noninteractive
  apt=(apt-get -qq -y -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60)
  before=$(ls /etc/systemd/system/multi-user.target.wants 2>/dev/null)
  if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$package"; } >/dev/null 2>&1 </dev/null; then
    echo "debian: apt-get could not install $package: skipping $skipped"
  fi
  for unit in $(ls /etc/systemd/system/multi-user.target.wants 2>/dev/null); do
    grep -qxF "$unit" <<<"$before" || systemctl disable "$unit" >/dev/null 2>&1
  done
done
exit 0
