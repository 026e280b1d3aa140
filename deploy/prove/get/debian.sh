#!/usr/bin/env bash
# debian.sh FOLDER PACKAGE…: programs out of Debian packages, unpacked into FOLDER/debian; nothing is installed.
set -euo pipefail
folder=${1:?folder}; shift
mkdir -p "$folder/debian"; folder=$(cd "$folder" && pwd)
for package in "$@"; do
    mark=$folder/debian/.$package
    [ -e "$mark" ] && continue
    (cd "$folder/debian" && apt-get download "$package" && dpkg -x "$package"_*.deb . && rm "$package"_*.deb)
    touch "$mark"
done
