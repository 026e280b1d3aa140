#!/usr/bin/env bash
# compose.sh FOLDER: Docker Compose as one program out of its Go module. Without an engine it still does `config` for real.
set -euo pipefail
folder=${1:?folder}; mkdir -p "$folder/bin"; folder=$(cd "$folder" && pwd)
version=${COMPOSE_VERSION:-2.40.3}
[ -x "$folder/bin/docker-compose" ] && exit 0
export GOTOOLCHAIN=${GOTOOLCHAIN:-local} CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off
module=$(cd / && go mod download -json "github.com/docker/compose/v2@v$version" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
rm -rf "$folder/compose-source"; cp -r "$module" "$folder/compose-source"; chmod -R u+w "$folder/compose-source"
(cd "$folder/compose-source" && go build -p "${JOBS:-2}" -trimpath -tags fsnotify \
    -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=v$version" -o "$folder/bin/docker-compose" ./cmd)
rm -rf "$folder/compose-source"
