//! `make-test-images DIR BUSYBOX [DEBIAN_ROOT]`: pack the images that the tests load.

use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(dir), Some(busybox)) = (args.first(), args.get(1)) else {
        eprintln!("usage: make-test-images DIR BUSYBOX [DEBIAN_ROOT]");
        std::process::exit(2);
    };
    knarr_e2e::images::write_all(Path::new(dir), Path::new(busybox), args.get(2).map(Path::new));
}
