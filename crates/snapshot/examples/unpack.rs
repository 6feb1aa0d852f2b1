//! Unpacks a layer into a data root and says how long it took: `unpack <layer.tar[.gz|.zst]> <data-root>`.
use knarr_snapshot::{Layers, Limits, Whiteouts};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(layer), Some(root)) = (arguments.next(), arguments.next()) else {
        return Err("usage: unpack <layer> <data-root>".into());
    };
    let layers = Layers::open(Path::new(&root))?;
    let start = Instant::now();
    let staged = layers.stage(std::fs::File::open(layer)?, None, Whiteouts::Overlay, Limits::default())?;
    let unpacked = start.elapsed();
    let meta = layers.commit(vec![staged])?.remove(0);
    let (all, mib) = (start.elapsed(), meta.stream_len as f64 / f64::from(1 << 20));
    println!("{} entries, {mib:.1} MiB: unpacked in {unpacked:.1?}, durable in {all:.1?}", meta.entries);
    Ok(())
}
