#!/bin/sh
# Puts the CPU half of libtorch 2.11.0 at third_party/libtorch, for the torch backend of plugin `segment`.
#
#   scripts/fetch_libtorch.sh
#
# Does nothing if it is there already. Otherwise:
#   NEUROLOOM_TORCH_LIB   if set, the `lib` folder of an existing libtorch 2.11.0 (also `torch/lib` of a Python package):
#                         it is linked to, nothing is downloaded
#   NEUROLOOM_TORCH_CACHE folder that keeps the unpacked libraries for other checkouts;
#                         default: ${XDG_CACHE_HOME:-~/.cache}/neuroloom
# Needs python3 with pip. Linux on x86-64 only; elsewhere set NEUROLOOM_TORCH_LIB.
set -eu

VERSION=2.11.0
TORCH_SHA256=7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
CUDART_SHA256=7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
CUPTI_SHA256=4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8

cd "$(dirname "$0")/.."
ROOT=$PWD
HOME_CACHE=${XDG_CACHE_HOME:-${HOME:-$ROOT/third_party}/.cache}
CACHE=${NEUROLOOM_TORCH_CACHE:-$HOME_CACHE/neuroloom}
KEPT=$CACHE/libtorch-$VERSION-cpu
WANTED=$ROOT/third_party/libtorch

say() { echo "libtorch: $*" >&2; }
die() { say "$1"; [ $# -lt 2 ] || echo "hint: $2" >&2; exit 1; }

# Whether a folder made by this script is whole: the version is written last.
whole() { [ "$(cat "$1/build-version" 2>/dev/null)" = "$VERSION" ] && [ -e "$1/lib/libtorch_cpu.so" ]; }

# Lets third_party/libtorch point at folder $1.
point_at() {
    mkdir -p "$ROOT/third_party"
    [ -L "$WANTED" ] || [ ! -d "$WANTED" ] || rm -rf "$WANTED"
    ln -sfn "$1" "$WANTED"
}

# A folder of links to an existing libtorch, whose `lib` folder is $1. Its own libtorch.so may need the whole of CUDA; a
# linker script that names the CPU half alone takes its place.
link_existing() {
    lib=$(cd "$1" 2>/dev/null && pwd -P) || die "NEUROLOOM_TORCH_LIB is no folder: $1"
    [ -e "$lib/libtorch_cpu.so" ] || die "no libtorch_cpu.so in $lib" "give the folder \`lib\` of a libtorch $VERSION"
    base=$(dirname "$lib")
    found=$(cat "$base/build-version" 2>/dev/null || sed -n "s/^__version__ = '\(.*\)'/\1/p" "$base/version.py" 2>/dev/null || true)
    case $found in
        "$VERSION"|"$VERSION"+*) ;;
        *) die "version ${found:-unknown} in $base, where $VERSION is needed" "unset NEUROLOOM_TORCH_LIB to download it" ;;
    esac
    if whole "$WANTED" && [ "$(readlink -f "$WANTED/lib/libtorch_cpu.so")" = "$(readlink -f "$lib/libtorch_cpu.so")" ]; then
        return
    fi
    made=$(mktemp -d "$ROOT/third_party/libtorch.XXXXXX")
    mkdir "$made/lib"
    ln -s "$base/include" "$made/include"
    for file in "$lib"/libc10.so "$lib"/libtorch_cpu.so "$lib"/libgomp*.so* \
        "$lib"/libcu*.so.13 "$base"/../nvidia/cu13/lib/libcudart.so.13 "$base"/../nvidia/cu13/lib/libcupti.so.13; do
        [ ! -e "$file" ] || ln -sf "$file" "$made/lib/"
    done
    echo 'INPUT(libtorch_cpu.so)' > "$made/lib/libtorch.so"
    echo "$VERSION" > "$made/build-version"
    rm -rf "$WANTED"
    mv "$made" "$WANTED"
    say "using $lib"
}

# Downloads the wheels into $1. pip itself holds each against its checksum before it keeps it.
download() {
    python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is needed to download libtorch" \
        "install python3-pip, or set NEUROLOOM_TORCH_LIB to the lib folder of a libtorch $VERSION"
    cat > "$1/wheels.txt" <<WHEELS
torch==$VERSION --hash=sha256:$TORCH_SHA256
nvidia-cuda-runtime==13.0.96 --hash=sha256:$CUDART_SHA256
nvidia-cuda-cupti==13.0.85 --hash=sha256:$CUPTI_SHA256
WHEELS
    say "downloading three Python wheels, 544 MB (498 MB unpacked), to $KEPT"
    python3 -m pip --disable-pip-version-check download -q --no-cache-dir --no-deps --require-hashes -r "$1/wheels.txt" \
        --only-binary=:all: --python-version 3.11 --implementation cp --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_25_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d "$1" ||
        die "the download failed or a checksum did not match; nothing was unpacked" "run this again"
}

# Takes the CPU libraries and headers out of the wheels in $1 into folder $2. libtorch_cpu.so needs two small CUDA
# libraries for its profiler; neither needs a driver.
unpack() {
    python3 - "$1" "$2" <<'PYTHON'
import glob, os, shutil, sys, zipfile

wheels, target = sys.argv[1:]
LIBRARIES = {
    "torch-*": ["torch/lib/libc10.so", "torch/lib/libtorch_cpu.so", "torch/lib/libgomp.so.1"],
    "nvidia_cuda_runtime-*": ["nvidia/cu13/lib/libcudart.so.13"],
    "nvidia_cuda_cupti-*": ["nvidia/cu13/lib/libcupti.so.13"],
}
for pattern, libraries in LIBRARIES.items():
    (path,) = glob.glob(os.path.join(wheels, pattern + ".whl"))
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if name in libraries:
                place = os.path.join(target, "lib", os.path.basename(name))
            elif name.startswith("torch/include/") and not name.endswith("/"):
                place = os.path.join(target, name.removeprefix("torch/"))
            else:
                continue
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with wheel.open(name) as source, open(place, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
PYTHON
    # The wheel's libtorch.so is an empty shim that needs the CUDA half; a linker script does the same for the CPU half.
    echo 'INPUT(libtorch_cpu.so)' > "$2/lib/libtorch.so"
    echo "$VERSION" > "$2/build-version"
}

mkdir -p "$ROOT/third_party"
if [ -n "${NEUROLOOM_TORCH_LIB:-}" ]; then
    link_existing "$NEUROLOOM_TORCH_LIB"
    exit 0
fi
if whole "$WANTED"; then exit 0; fi
if ! whole "$KEPT"; then
    case $(uname -s)-$(uname -m) in
        Linux-x86_64) ;;
        *) die "no download for $(uname -s) on $(uname -m)" \
            "set NEUROLOOM_TORCH_LIB to the lib folder of a libtorch $VERSION" ;;
    esac
    mkdir -p "$CACHE"
    # Beside the goal, so that the last step is one rename: a half unpacked folder is never taken for a whole one.
    WORK=$(mktemp -d "$CACHE/libtorch.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    trap 'exit 130' INT TERM
    download "$WORK"
    unpack "$WORK" "$WORK/libtorch"
    # Another run may have finished first; then its folder serves as well.
    whole "$KEPT" || { rm -rf "$KEPT"; mv -T "$WORK/libtorch" "$KEPT"; }
fi
point_at "$KEPT"
say "$VERSION at $KEPT"
