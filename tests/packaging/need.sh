# Sourced by the tests of this folder; bash.
# shellcheck shell=bash
# need TOOL...: ends the test with a message unless all of these programs are there.
need() {
  local tool missing=()
  for tool in "$@"; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "${0##*/}: missing: ${missing[*]}; tools/setup.sh package installs what is needed" >&2
    exit 1
  fi
}

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}
