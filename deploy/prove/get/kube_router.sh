#!/usr/bin/env bash
# kube_router.sh FOLDER: kube-router, which enforces network policies, out of its Go module, into FOLDER/bin. Three minutes on two
# cores the first time.
set -euo pipefail
folder=${1:?folder}; mkdir -p "$folder/bin" "$folder/kube-router-module"; folder=$(cd "$folder" && pwd)
version=${KUBE_ROUTER_VERSION:-2.1.0} module=github.com/cloudnativelabs/kube-router/v2
[ -x "$folder/bin/kube-router" ] && exit 0
export GOTOOLCHAIN=${GOTOOLCHAIN:-local} CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off
cd "$folder/kube-router-module" # a module around it: `go install` asks for a list of versions that not every proxy has
printf 'module prove/kube-router\n\ngo 1.22\n\nrequire %s v%s\n' "$module" "$version" > go.mod
printf '//go:build tools\n\npackage tools\n\nimport _ "%s/cmd/kube-router"\n' "$module" > tools.go
go mod tidy
go build -p "${JOBS:-2}" -trimpath -ldflags '-s -w' -o "$folder/bin/kube-router" "$module/cmd/kube-router"
