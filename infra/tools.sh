#!/usr/bin/env bash
# Makes sure of programs that some tests need and that no package of Python's brings: installs
# Debian's where that is possible without asking, and says what is skipped where it is not.
# It never fails, and ends within minutes whatever the network does.
set -uo pipefail

usage() {
  echo "usage: tools.sh [chromium] [slurm] [hosts] [fonts]" >&2
  exit 2
}

have() { # one of these programs
  local name
  for name; do
    if PATH=$PATH:/usr/sbin command -v "$name" >/dev/null; then return 0; fi
  done
  return 1
}

has_fonts() { # of scripts that no other one stands for
  local language
  for language in zh-cn bn am chr; do
    if ! [ "$(fc-list ":lang=$language" 2>/dev/null)" ]; then return 1; fi
  done
}

updated=''
ensure() { # what the tests are of, then Debian's packages
  local tests=$1
  shift
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing $* for the $tests tests"
    [ "$updated" ] || timeout -k 10 120 apt-get update -qq || true
    updated=1
    DEBIAN_FRONTEND=noninteractive timeout -k 10 300 apt-get install -y -qq "$@" \
      </dev/null >/dev/null && return
  fi
  echo "not found: the $tests tests will be skipped (packages that they need: $*)"
}

(($#)) || usage
for tool; do
  case $tool in
    chromium) have chromium chromium-browser google-chrome || ensure browser chromium ;;
    slurm) { have munged && have slurmctld && have slurmd; } || ensure Slurm slurm-wlm munge ;;
    fonts) has_fonts || ensure script fonts-noto-core fonts-noto-cjk ;;
    hosts) have ip || ensure two-host iproute2 ;;
    *) usage ;;
  esac
done
