//! Lets the backend, and its tests, find libtorch without `LD_LIBRARY_PATH`.

/// Where libtorch lies, seen from `target/<profile>`, from its `deps`, and from the plugin folder of an installation.
const RUNPATH: &str = "$ORIGIN/../../third_party/libtorch/lib:$ORIGIN/../../../third_party/libtorch/lib:$ORIGIN/../libtorch/lib";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{RUNPATH}");
    }
}
