#!/usr/bin/env bash
# kube_state_metrics.sh FOLDER: the real kube-state-metrics out of its Go module, into FOLDER/bin. Four minutes on two cores the first time.
set -euo pipefail
folder=${1:?folder}; mkdir -p "$folder/bin" "$folder/kube-state-metrics-module"; folder=$(cd "$folder" && pwd)
version=${KUBE_STATE_METRICS_VERSION:-2.13.0} module=k8s.io/kube-state-metrics/v2
[ -x "$folder/bin/kube-state-metrics" ] && exit 0
export GOTOOLCHAIN=${GOTOOLCHAIN:-local} CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off
cd "$folder/kube-state-metrics-module" # a module around it: `go install` asks for a list of versions that not every proxy has
printf 'module prove/kube-state-metrics\n\ngo 1.22\n\nrequire %s v%s\n' "$module" "$version" > go.mod
printf '//go:build tools\n\npackage tools\n\nimport _ "%s"\n' "$module" > tools.go
go mod tidy
go build -p "${JOBS:-2}" -trimpath -ldflags '-s -w' -o "$folder/bin/kube-state-metrics" "$module"
