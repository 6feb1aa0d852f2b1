//! `write-seeds TARGET DIR`: the examples of a target, and what once made it fail, as files, for a fuzzer to begin with.

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, target, dir] = args.as_slice() else {
        eprintln!("usage: write-seeds TARGET DIR");
        std::process::exit(2);
    };
    std::fs::create_dir_all(dir)?;
    let all = [knarr_fuzz::seeds(target), knarr_fuzz::kept(target)].concat();
    for (n, seed) in all.iter().enumerate() {
        std::fs::write(std::path::Path::new(dir).join(format!("seed-{n}")), seed)?;
    }
    Ok(())
}
