# What the scripts of ci/ share: saying what they do, timing stages, and acting as root.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export top

say() {
  if [ -t 2 ]; then printf '\033[1m==> %s\033[0m\n' "$*" >&2; else printf '==> %s\n' "$*" >&2; fi
}
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# stage NAME COMMAND…: runs it and remembers how long it took.
stage_times=()
stage() {
  local name=$1 begun=$SECONDS status=0
  shift
  say "$name"
  "$@" || status=$?
  stage_times+=("$(printf '%-12s %4d s' "$name" $((SECONDS - begun)))")
  return "$status"
}
print_stages() {
  printf '\nstage        time\n'
  printf '%s\n' "${stage_times[@]}"
  printf '%-12s %4d s\n' total "$SECONDS"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root to install packages: run ci/setup as root once, or install sudo"
  fi
}

# The package's binary beside the tests': one profile serves both.
hil_binary() { echo "${CARGO_TARGET_DIR:-$top/target}/debug/hil"; }
