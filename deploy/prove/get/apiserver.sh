#!/usr/bin/env bash
# apiserver.sh FOLDER: a real Kubernetes control plane out of its Go modules, into FOLDER/bin: kube-apiserver, kubectl,
# kube-controller-manager, kube-scheduler, etcd, and kwok, which plays nodes. Ten minutes on two cores the first time.
set -euo pipefail
folder=${1:?folder}; mkdir -p "$folder/bin" "$folder/kubernetes"; folder=$(cd "$folder" && pwd)
kubernetes=${K8S_VERSION:-1.34.4} etcd=${ETCD_VERSION:-3.6.8} kwok=${KWOK_VERSION:-0.7.0} jobs=${JOBS:-2}
export GOTOOLCHAIN=${GOTOOLCHAIN:-local} CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off

if [ ! -x "$folder/bin/etcd" ]; then # a module around it: `go install` refuses etcd's replace directives
    mkdir -p "$folder/etcd-module"; cd "$folder/etcd-module"
    printf 'module prove/etcd\n\ngo 1.24\n\nrequire go.etcd.io/etcd/server/v3 v%s\n' "$etcd" > go.mod
    printf '//go:build tools\n\npackage tools\n\nimport _ "go.etcd.io/etcd/server/v3"\n' > tools.go
    go mod tidy
    go build -p "$jobs" -trimpath -ldflags '-s -w' -o "$folder/bin/etcd" go.etcd.io/etcd/server/v3
fi
[ -x "$folder/bin/kwok" ] ||
    (cd / && GOBIN="$folder/bin" go install -p "$jobs" -trimpath -ldflags '-s -w' "sigs.k8s.io/kwok/cmd/kwok@v$kwok")

programs=(kube-apiserver kubectl kube-controller-manager kube-scheduler) missing=()
for program in "${programs[@]}"; do [ -x "$folder/bin/$program" ] || missing+=("$program"); done
[ ${#missing[@]} -eq 0 ] && exit 0
source=$(cd / && go mod download -json "k8s.io/kubernetes@v$kubernetes" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
cd "$folder/kubernetes"
{
    echo "module prove/kubernetes"; echo
    sed -n '/^go /p;/^godebug/p' "$source/go.mod"; echo
    echo "require k8s.io/kubernetes v$kubernetes"; echo "replace ("
    # each staging folder of the module is published under its own name as v0.MINOR.PATCH
    sed -n 's#^\t\(k8s.io/[a-z-]*\) => ./staging.*#\t\1 => \1 v0.'"${kubernetes#1.}"'#p' "$source/go.mod"
    echo ")"
} > go.mod
{
    printf '//go:build tools\n\npackage tools\n\nimport (\n'
    for program in "${programs[@]}"; do printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' "$program"; done
    echo ')'
} > tools.go
cp -f "$source/go.sum" go.sum; chmod u+w go.sum
go mod tidy
minor=$(echo "$kubernetes" | cut -d. -f2) version=k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=v$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=$minor"
for program in "${missing[@]}"; do
    go build -p "$jobs" -trimpath -ldflags "$flags" -o "$folder/bin/$program" "k8s.io/kubernetes/cmd/$program"
done
