#!/usr/bin/env bash
# Installs the Debian packages that some tests want and no npm package brings. Never fails: where it cannot install,
# it says what will be skipped, and why.
set -u

# package, the command that shows it is there, what is skipped without it
wanted=(
  "chromium chromium the checks of pages in a browser"
  "softhsm2 softhsm2-util the tests of keys in a PKCS#11 token"
)

for line in "${wanted[@]}"; do
  read -r package command skipped <<<"$line"
  command -v "$command" >/dev/null && continue
  if [ "$(id -u)" -ne 0 ]; then
    echo "debian: $package is missing, and only root may install it: skipping $skipped"
    continue
  fi
  if ! command -v apt-get >/dev/null; then
    echo "debian: $package is missing, and there is no apt-get here: skipping $skipped"
    continue
  fi
  echo "debian: installing $package"
  export DEBIAN_FRONTEND=noninteractive
  apt=(apt-get -qq -y -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60)
  if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$package"; } >/dev/null 2>&1 </dev/null; then
    echo "debian: apt-get could not install $package: skipping $skipped"
  fi
done
exit 0
