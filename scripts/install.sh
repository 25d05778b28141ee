#!/bin/sh
# Copies a finished build into a tree that can be moved as a whole.
set -eu
prefix=$1
build=target/release
mkdir -p "$prefix/bin" "$prefix/lib/neuroloom/plugins" "$prefix/lib/neuroloom/libtorch" "$prefix/share/neuroloom"
install -m 755 "$build/neuroloom" "$prefix/bin/"
for plugin in "$build"/libneuroloom_*.so; do
    case "$plugin" in
    *neuroloom_core* | *neuroloom_sdk* | *neuroloom_abi*) ;;
    *) install -m 755 "$plugin" "$prefix/lib/neuroloom/plugins/" ;;
    esac
done
for program in "$build"/bench_*; do
    case "$program" in
    *.d) ;;
    *) install -m 755 "$program" "$prefix/lib/neuroloom/plugins/" ;;
    esac
done
cp -RL third_party/libtorch/lib "$prefix/lib/neuroloom/libtorch/"
cp -R workflows "$prefix/share/neuroloom/"
echo "installed below $prefix; run $prefix/bin/neuroloom doctor" >&2
