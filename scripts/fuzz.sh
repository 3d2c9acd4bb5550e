#!/usr/bin/env bash
# Runs every fuzz target of the tree for the given time.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
git grep -l -E '^func Fuzz[A-Za-z0-9_]+\(' -- '*_test.go' | while read -r file; do
	grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | cut -c6- | while read -r target; do
		echo "fuzzing $target in $(dirname "$file") for $time"
		go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time"
	done
done
