//! `write-seeds TARGET DIR`: the examples of a target as files, for a fuzzer to begin with.

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, target, dir] = args.as_slice() else {
        eprintln!("usage: write-seeds TARGET DIR");
        std::process::exit(2);
    };
    std::fs::create_dir_all(dir)?;
    for (n, seed) in knarr_fuzz::seeds(target).iter().enumerate() {
        std::fs::write(std::path::Path::new(dir).join(format!("seed-{n}")), seed)?;
    }
    Ok(())
}
