#!/usr/bin/env bash
# The tests of core, tensor and kernels on 64-bit Arm, where the kernels use NEON: built by a cross
# compiler, run by an emulator. Nothing above those modules knows the instruction set. Some minutes.
#   tools/check_neon.sh
# Death tests are left out: an emulated program cannot start another.
# Installs Debian's cross compiler and emulator, as root or through sudo; Arm's libraries are only
# unpacked into build/neon.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build/neon
triple=aarch64-linux-gnu
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)

if ! command -v $triple-g++ >/dev/null || ! command -v qemu-aarch64-static >/dev/null; then
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends g++-$triple qemu-user-static
fi
mkdir -p "$folder/debs" "$folder/objects"
if [ ! -d "$folder/root" ]; then
  if ! dpkg --print-foreign-architectures | grep -qx arm64; then
    "${as_root[@]}" dpkg --add-architecture arm64
    "${as_root[@]}" apt-get update -q
  fi
  (cd "$folder/debs" && apt-get download -q lib{hwy1,hwy-dev,gtest-dev,gmock-dev}:arm64)
  for package in "$folder"/debs/*.deb; do dpkg -x "$package" "$folder/root.new"; done
  mv "$folder/root.new" "$folder/root"
fi

compile() {
  $triple-g++ -std=c++20 -O1 -Wall -Wextra -Isrc -isystem "$folder/root/usr/include" \
    "-DONEPASS_SOURCE_DIR=\"$PWD\"" -c "$1" -o "$folder/objects/${1//\//_}.o"
}
export folder triple
export -f compile
rm -f "$folder"/objects/*
printf '%s\0' src/{core,tensor,kernels,kernels/ref,kernels/cpu}/*.cc |
  xargs -0 -P "$(nproc)" -I{} bash -c 'compile {}'
library=$folder/root/usr/lib/$triple
$triple-g++ -o "$folder/kernels_test" "$folder"/objects/*.o -L"$library" \
  -lgmock_main -lgmock -lgtest -lhwy -lpthread
qemu-aarch64-static -L /usr/$triple -E LD_LIBRARY_PATH="$library" "$folder/kernels_test" \
  --gtest_filter=-*DeathTest*
