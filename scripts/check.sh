#!/usr/bin/env bash
# Fails on unformatted code, vet, staticcheck, buf lint, stale generated code, or a dirty tree.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/tools/bin:$PATH"
failed=0
complain() { echo "check: $*" >&2; failed=1; }

before=$(git status --porcelain)
[ -z "$before" ] || complain "the tree is dirty; commit first:"$'\n'"$before"

unformatted=$(git ls-files '*.go' | grep -v '\.pb\.go$' | xargs gofumpt -l)
[ -z "$unformatted" ] || complain "not formatted; run gofumpt -w on:"$'\n'"$unformatted"
go vet ./... || complain "go vet"
staticcheck ./... || complain "staticcheck"
(cd proto && buf lint) || complain "buf lint"

make -s generate
after=$(git status --porcelain)
[ "$before" = "$after" ] || complain "generated code is stale; run make generate and commit:"$'\n'"$after"

long=$(git ls-files '*.go' '*.c' | grep -v -E '\.pb\.go$|_test\.go$|constants\.go$' | xargs wc -l | awk '$2 != "total" && $1 > 600 { print $2 ": " $1 " lines" }')
[ -z "$long" ] || complain "longer than 600 lines; split:"$'\n'"$long"
exit $failed
