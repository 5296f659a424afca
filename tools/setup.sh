#!/usr/bin/env bash
# Installs the Debian packages that onepass needs, as root or through sudo. Does nothing where all
# of them are there already, so that make may call it each time.
#   tools/setup.sh          building and testing
#   tools/setup.sh dev      that, and the tools of lint, fuzz and the sanitizer builds
#   tools/setup.sh browser  what the web page's test needs, and nothing else
#   tools/setup.sh package  what the Debian package and its tests need beside building
set -euo pipefail

packages=(
  g++ make cmake ninja-build pkg-config python3 python3-venv
  libbenchmark-dev     # micro-benchmarks
  libboost1.81-dev     # HTTP
  libcli11-dev         # command line
  libgtest-dev libgmock-dev
  libhwy-dev           # SIMD
  libpcre2-dev         # pre-tokenizer patterns
  libprotobuf-dev protobuf-compiler
  libfmt-dev
  libutf8proc-dev      # NFC
  libxapian-dev        # BM25 index
  libyaml-cpp-dev
  nlohmann-json3-dev
  prometheus-cpp-dev   # metrics
)
case "${1:-build}" in
  build) ;;
  dev) packages+=(clang clang-format clang-tidy libclang-rt-14-dev ccache git) ;;
  browser) packages=(chromium fonts-dejavu-core python3 python3-venv) ;;
  package) packages=(dpkg-dev file lintian mandoc groff-base man-db bsdextrautils zsh fish curl systemd python3) ;;
  *) echo "usage: tools/setup.sh [build|dev|browser|package]" >&2; exit 2 ;;
esac

missing_packages() {
  local name
  for name in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
  done
}

if ! command -v dpkg-query >/dev/null; then
  echo "setup: not a Debian system; please install: ${packages[*]}" >&2
  exit 1
fi
mapfile -t missing < <(missing_packages)
[ "${#missing[@]}" -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: these packages are missing and there is neither root nor sudo: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "setup: installing ${missing[*]}"
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}"
}
# The package lists may be absent or too old for what they name; refresh them only then.
if ! apt-get install -s -q "${missing[@]}" >/dev/null 2>&1 || ! install; then
  "${as_root[@]}" apt-get update -q
  install
fi
echo "setup: done"
