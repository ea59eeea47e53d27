#!/usr/bin/env bash
# Installs, upgrades and rolls back the appliance: each version has an environment of its own, and `current` names one.
#
#   appliance.sh install fnrbc-X.Y.Z-py3-none-any.whl    first installation, and every upgrade
#   appliance.sh rollback                                the version before it counts again
#   appliance.sh status
#
# ROOT puts everything below another folder (an image that is being made); PYTHON chooses the interpreter; PIP_ARGS goes
# to pip, such as "--no-index --find-links FOLDER" where there is no network.
#
# What the wheel needs comes from requirements.txt beside this script, each file held to the hash that stands there.
set -euo pipefail
# What is installed is read by the service's user; secrets below have modes of their own.
umask 022

ROOT=${ROOT:-}
PYTHON=${PYTHON:-python3}
PIP_ARGS=${PIP_ARGS:-}
HOME_DIR=$ROOT/opt/fnrbc
HERE=$(cd "$(dirname "$0")" && pwd)
REQUIREMENTS=$HERE/requirements.txt

die() { echo "error: $*" >&2; exit 1; }

# A link is replaced by a rename: at every moment it names a whole version.
point() { ln -s "$2" "$HOME_DIR/.$1.new" && mv -T "$HOME_DIR/.$1.new" "$HOME_DIR/$1"; }

restart() {
  [ -z "$ROOT" ] && [ -d /run/systemd/system ] || return 0
  systemctl daemon-reload
  if systemctl is-enabled --quiet fnrbc; then systemctl restart fnrbc; fi
}

require_pins() {
  local python known
  [ -f "$REQUIREMENTS" ] || die "$REQUIREMENTS is missing; take the whole deploy folder of the release"
  python=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "$PYTHON is no Python"
  known=$(sed -n 's/^# CPython \(.*\) on .*/\1/p' "$REQUIREMENTS")
  case " $known " in
    *" $python "*) ;;
    *) die "$REQUIREMENTS is for Python ${known// /, }, not $python; choose another with PYTHON=" ;;
  esac
}

# One sentence for why pip refused; all that it said is too long to be read.
refuse() {
  local what=$1 part=$2 other reason
  other=$(sed -n '/DO NOT MATCH THE HASHES/,$ s/^ *\([^ ]*==[^ ]*\) from .*/\1/p' "$part/pip.log" | head -n 1)
  reason=$(sed -n 's/^ERROR: //p' "$part/pip.log" | tail -n 1)
  rm -rf "$part"
  [ -z "$other" ] || die "$other is not the file that $REQUIREMENTS pins (its hash differs); nothing was changed"
  die "$what cannot be installed (${reason:-pip says no reason}); nothing was changed"
}

install_version() {
  local wheel=$1 version target
  [ -f "$wheel" ] || die "$wheel does not exist; give the wheel of a release"
  require_pins
  version=$(basename "$wheel" | cut -d- -f2)
  target=$HOME_DIR/$version
  [ ! -e "$target" ] || die "version $version is installed already; 'rollback' or another wheel"
  install -d -m 755 "$HOME_DIR"
  # JetPack's TensorRT and OpenCV, and the cameras' bindings, belong to the system's Python.
  "$PYTHON" -m venv --system-site-packages "$target.part"
  # What the system has in the same version has shown no hash: it is not taken.
  # shellcheck disable=SC2086 - several arguments are meant
  "$target.part/bin/pip" install --quiet --disable-pip-version-check $PIP_ARGS --only-binary=:all: --require-hashes \
    --ignore-installed --requirement "$REQUIREMENTS" 2>"$target.part/pip.log" \
    || refuse "what $REQUIREMENTS pins" "$target.part"
  # Its own needs are there by now: what is not is refused, not fetched without a hash.
  PIP_CONFIG_FILE=/dev/null "$target.part/bin/pip" --isolated install --quiet --disable-pip-version-check --no-index \
    "$wheel" 2>"$target.part/pip.log" || refuse "$wheel" "$target.part"
  rm "$target.part/pip.log"
  "$target.part/bin/python" -c "import fnrbc_device" || { rm -rf "$target.part"; die "$wheel holds no fnrbc"; }
  # Scripts name their interpreter by its path: they are made to go through the link.
  sed -i "1s#^\#!.*#\#!/opt/fnrbc/$version/bin/python#" "$target.part"/bin/fnrbc*
  mv "$target.part" "$target"
  [ ! -L "$HOME_DIR/current" ] || point previous "$(readlink "$HOME_DIR/current")"
  point current "$version"
}

install_system_files() {
  install -D -m 644 "$HERE/systemd/fnrbc.service" "$ROOT/etc/systemd/system/fnrbc.service"
  install -D -m 644 "$HERE/systemd/fnrbc.sysusers" "$ROOT/usr/lib/sysusers.d/fnrbc.conf"
  install -D -m 644 "$HERE/systemd/70-fnrbc.rules" "$ROOT/etc/udev/rules.d/70-fnrbc.rules"
  install -d -m 755 "$ROOT/etc/fnrbc"
  install -d -m 700 "$ROOT/etc/fnrbc/credentials"
  # What a person has written stays.
  [ -e "$ROOT/etc/fnrbc/fnrbc.toml" ] || install -m 644 "$HERE/systemd/fnrbc.example.toml" "$ROOT/etc/fnrbc/fnrbc.toml"
  [ -e "$ROOT/etc/fnrbc/credentials/mqtt-password" ] \
    || install -m 600 /dev/null "$ROOT/etc/fnrbc/credentials/mqtt-password"
  if [ -z "$ROOT" ]; then
    systemd-sysusers fnrbc.conf
    udevadm control --reload && udevadm trigger
  fi
}

case ${1:-} in
  install)
    [ $# = 2 ] || die "give one wheel: appliance.sh install FILE.whl"
    install_version "$2"
    install_system_files
    restart
    echo "version $(readlink "$HOME_DIR/current") is installed; next: /opt/fnrbc/current/bin/fnrbc check"
    ;;
  rollback)
    [ -L "$HOME_DIR/previous" ] || die "there is no version before this one"
    now=$(readlink "$HOME_DIR/current")
    point current "$(readlink "$HOME_DIR/previous")"
    point previous "$now"
    restart
    echo "version $(readlink "$HOME_DIR/current") counts again"
    ;;
  status)
    [ -L "$HOME_DIR/current" ] || die "nothing is installed in $HOME_DIR"
    echo "current $(readlink "$HOME_DIR/current")"
    [ ! -L "$HOME_DIR/previous" ] || echo "previous $(readlink "$HOME_DIR/previous")"
    ;;
  *) die "say install, rollback or status" ;;
esac
