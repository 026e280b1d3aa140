#!/usr/bin/env bash
# go_program.sh FOLDER PROGRAM VERSION MODULE [PACKAGE]: a program out of its Go module, built into FOLDER/bin. PACKAGE: where in the
# module it is, if not at its top. kube-state-metrics and kube-router take three to four minutes each on two cores the first time.
set -euo pipefail
folder=${1:?folder} program=${2:?program} version=${3:?version} module=${4:?module} package=${4}${5:+/$5}
mkdir -p "$folder/bin" "$folder/$program-module"; folder=$(cd "$folder" && pwd)
[ -x "$folder/bin/$program" ] && exit 0
export GOTOOLCHAIN=${GOTOOLCHAIN:-local} CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off
cd "$folder/$program-module" # a module around it: `go install` asks for a list of versions that not every proxy has
printf 'module prove/%s\n\ngo 1.22\n\nrequire %s v%s\n' "$program" "$module" "$version" > go.mod
printf '//go:build tools\n\npackage tools\n\nimport _ "%s"\n' "$package" > tools.go
go mod tidy
go build -p "${JOBS:-2}" -trimpath -ldflags '-s -w' -o "$folder/bin/$program" "$package"
