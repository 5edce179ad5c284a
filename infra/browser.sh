#!/usr/bin/env bash
# Makes sure of a Chromium for the tests that open the report: installs Debian's where that is
# possible without asking, and says what to do where it is not.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "installing Chromium for the browser tests"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
else
  echo "no Chromium found: the browser tests will be skipped (install the package 'chromium')"
fi
