#!/usr/bin/env bash
# Runs the tests of the shared store against Valkey, where Debian's package of it is to be had: in the archive since Debian 13, for Debian 12
# among the backports. It is unpacked into the target folder and not installed, so that no service is started.
#
#   tests/valkey.sh
#
# PALISADE_REDIS_SERVER=PROGRAM cargo test -p palisade --all-features --test redis is the same with any other server.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$PWD/target/valkey
fetch() {
  mkdir -p "$folder"/{etc/apt.conf.d,etc/preferences.d,lists/partial,archives/partial}
  cd "$folder"
  apt-get --quiet=2 download valkey-server valkey-tools 2>/dev/null || backport || return
  for package in valkey-*.deb; do dpkg-deb --extract "$package" .; done
}
# With lists of its own, so that the machine's stay as they are.
backport() {
  local mirror
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep --max-count 1 '/debian$') || return
  : >status
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" >etc/sources.list
  cat >apt.conf <<EOF
Dir::State "$folder"; Dir::State::status "$folder/status"; Dir::Cache "$folder"; Dir::Etc "$folder/etc"; APT::Sandbox::User "root";
EOF
  APT_CONFIG=$folder/apt.conf apt-get --quiet=2 update && APT_CONFIG=$folder/apt.conf apt-get --quiet=2 download valkey-server valkey-tools
}

server=$(command -v valkey-server || true)
if [ -z "$server" ]; then
  server=$folder/usr/bin/valkey-server
  if [ ! -x "$server" ] && ! (fetch); then
    echo "SKIPPED: there is no package of Valkey, so the shared store was NOT tested with it"
    exit
  fi
fi
version=$("$server" --version)
echo "$version"
[[ $version == Valkey* ]]
PALISADE_REDIS_SERVER=$server cargo test -p palisade --all-features --test redis
