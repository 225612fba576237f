#!/bin/sh
# Gives the fuzzer the prebuilt files of testdata to begin with, beside what the corpora have.
set -eu
cd "$(dirname "$0")"
for target in detect plan; do
  mkdir -p "corpus/$target"
  for file in ../testdata/prebuilt/*/*; do
    if [ -f "$file" ]; then
      cp "$file" "corpus/$target/prebuilt-$(basename "$(dirname "$file")")-$(basename "$file")"
    fi
  done
done
