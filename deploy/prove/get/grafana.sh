#!/usr/bin/env bash
# grafana.sh FOLDER: a real Grafana server (10.0, its HTTP API without the browser's part) out of its Go module, into FOLDER/bin/grafana
# and FOLDER/home. Needs go (it fetches Go 1.20 by itself) and gcc. Five minutes on two cores the first time.
set -euo pipefail
folder=${1:?folder}; mkdir -p "$folder/bin"; folder=$(cd "$folder" && pwd)
version=${GRAFANA_VERSION:-v1.9.2-0.20230609164553-81d85ce8028d} # the one after 6.1 that is served as a module
[ -x "$folder/bin/grafana" ] && [ -d "$folder/home" ] && exit 0
export GOTOOLCHAIN=go1.20.14 GOFLAGS="-buildvcs=false -mod=mod" CGO_ENABLED=1
source=$(cd / && GOTOOLCHAIN=local go mod download -json "github.com/grafana/grafana@$version" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
rm -rf "$folder/source"; cp -r "$source" "$folder/source"; chmod -R u+w "$folder/source"; cd "$folder/source"
GOBIN="$folder/bin" go install -p "${JOBS:-2}" github.com/google/wire/cmd/wire@v0.5.0
"$folder/bin/wire" gen -tags oss ./pkg/server # writes what is not committed
go build -p "${JOBS:-2}" -tags oss -trimpath -ldflags "-s -w -X main.version=10.0.0" -o "$folder/bin/grafana" ./pkg/cmd/grafana
rm -rf "$folder/home"; mkdir -p "$folder/home/public/app"
cp -r conf "$folder/home/conf"
cp -r public/views public/emails public/gazetteer public/locales public/robots.txt public/img "$folder/home/public/"
cp -r public/app/plugins "$folder/home/public/app/"
cp public/views/index-template.html "$folder/home/public/views/index.html" # no front end is built
find "$folder/home/public/app/plugins" -type f \( -name '*.ts' -o -name '*.tsx' \) -delete
cd "$folder"; rm -rf "$folder/source"
