//! Compiles the library that sets the clocks of servers.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/clock.c");
    let out = std::env::var_os("OUT_DIR").expect("cargo says where");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "src/clock.c", "-ldl", "-o"])
        .arg(Path::new(&out).join("clock.so"))
        .status()
        .expect("a C compiler");
    assert!(compiled.success(), "the clock was not compiled");
}
