//! `images --tree`: images with what they hold for each platform.
use crate::cli::Shared;
use crate::failure::Outcome;
use crate::format::columns::{clip, width};
use crate::format::units;
use knarr_docker_types::Filters;
use serde_json::Value;

/// Between columns.
const SPACING: usize = 3;
const DEFAULT_WIDTH: usize = 80;
const MIN_WIDTH: usize = 20;
/// The names' column is never narrower: other columns go first.
const MIN_NAMES: usize = 12;

const TITLE: &str = "\x1b[39m\x1b[1m";
const WARNING: &str = "\x1b[93m";
const NAME: &str = "\x1b[34m\x1b[1m";
const NORMAL: &str = "\x1b[39m";
const FAINT: &str = "\x1b[39m\x1b[2m";
const RESET: &str = "\x1b[0m";

/// What the columns beside the name show.
#[derive(Default)]
struct Details {
    id: String,
    disk_usage: String,
    content_size: String,
    in_use: bool,
}

struct Platform {
    name: String,
    available: bool,
    details: Details,
}

struct Image {
    names: Vec<String>,
    created: i64,
    details: Details,
    platforms: Vec<Platform>,
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}
fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Platform {
    fn read(manifest: &Value) -> Self {
        let part = |name: &str| text(manifest, &format!("/ImageData/Platform/{name}"));
        let parts = [part("os"), part("architecture"), part("variant")];
        let name: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let containers = manifest.pointer("/ImageData/Containers").and_then(Value::as_array);
        Self {
            name: name.join("/"),
            available: manifest.get("Available").and_then(Value::as_bool).unwrap_or(false),
            details: Details {
                id: text(manifest, "/ID"),
                disk_usage: units::size_short(number(manifest, "/Size/Total")),
                content_size: units::size_short(number(manifest, "/Size/Content")),
                in_use: containers.is_some_and(|containers| !containers.is_empty()),
            },
        }
    }
}

impl Image {
    fn read(image: &Value) -> Self {
        let list = |name: &str| image.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let manifests = list("Manifests");
        let platforms: Vec<Platform> = manifests
            .iter()
            .filter(|manifest| manifest.get("Kind").and_then(Value::as_str) == Some("image"))
            .map(Platform::read)
            .collect();
        let content = manifests.iter().map(|manifest| number(manifest, "/Size/Content")).sum();
        let mut names: Vec<String> =
            list("RepoTags").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Self {
            details: Details {
                id: text(image, "/Id"),
                disk_usage: units::size_short(number(image, "/Size")),
                content_size: units::size_short(content),
                in_use: number(image, "/Containers") > 0 || platforms.iter().any(|p| p.details.in_use),
            },
            names,
            created: number(image, "/Created"),
            platforms,
        }
    }
}

fn is_dangling(image: &Value) -> bool {
    let only = |name: &str, none: &str| {
        let items = image.get(name).and_then(Value::as_array);
        items.is_none_or(|items| items.is_empty() || items.iter().all(|item| item == none))
    };
    only("RepoTags", "<none>:<none>") && only("RepoDigests", "<none>@<none>")
}

/// Draws the tree, and gives how many images it has.
pub async fn show(cli: &Shared, all: bool, filters: &Filters) -> Outcome<usize> {
    let client = cli.client().await?;
    let mut list: Vec<Value> =
        client.get("/images/json").flag("all", all).flag("manifests", true).filters(filters).fetch().await?;
    if !all {
        list.retain(|image| !is_dangling(image));
    }
    let mut images: Vec<Image> = list.iter().map(Image::read).collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let terminal = crate::term::stdout_is_terminal();
    let columns = crate::term::size_of_stdout().map_or(DEFAULT_WIDTH, |(_, columns)| usize::from(columns));
    cli.print(&Tree { terminal, width: columns.max(MIN_WIDTH) }.draw(&images))?;
    Ok(images.len())
}

struct Column {
    title: &'static str,
    width: usize,
    right: bool,
    value: fn(&Tree, &Details) -> String,
}

struct Tree {
    terminal: bool,
    width: usize,
}

impl Tree {
    fn colored(&self, color: &str, text: &str) -> String {
        if self.terminal && !text.is_empty() { format!("{color}{text}{RESET}") } else { text.to_owned() }
    }

    fn chip(&self) -> String {
        if self.terminal { format!("\x1b[38;5;0m\x1b[48;5;14m U {RESET}") } else { "U".to_owned() }
    }

    fn draw(&self, images: &[Image]) -> String {
        let mut out = self.colored(
            WARNING,
            "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.",
        );
        let info = if self.terminal {
            "\x1b[1m\x1b[106m\x1b[30mi\x1b[0m\x1b[0m \x1b[96mInfo → \x1b[0m\x1b[0m"
        } else {
            " Info -> "
        };
        let legend = format!("{info} {} In Use ", self.chip());
        let room = self.width.saturating_sub(width(&legend));
        out.push_str(&format!("\n{}{legend}\n\n", " ".repeat(room)));

        let (names, columns) = self.columns(images);
        out.push_str(&set(names, false, "IMAGE", |text| format!("{TITLE}{text}{RESET}")));
        for column in &columns {
            out.push_str(&" ".repeat(SPACING));
            out.push_str(&set(column.width, column.right, column.title, |text| {
                format!("{TITLE}{text}{RESET}")
            }));
        }
        out.push('\n');
        let spaced = images.iter().any(|image| !image.platforms.is_empty());
        for image in images {
            match image.names.split_last() {
                None => out.push_str(&set(names, false, "<untagged>", |text| self.colored(FAINT, text))),
                Some((last, others)) => {
                    for name in others {
                        let whole = crate::term::size_of_stdout().map_or(usize::MAX, |(_, c)| usize::from(c));
                        out.push_str(&self.colored(NAME, &clip(name, whole)));
                        out.push('\n');
                    }
                    out.push_str(&set(names, false, last, |text| self.colored(NAME, text)));
                }
            }
            self.details(&mut out, &columns, NORMAL, &image.details);
            if spaced {
                out.push('\n');
            }
            for (at, platform) in image.platforms.iter().enumerate() {
                let branch = if at + 1 == image.platforms.len() { "└─ " } else { "├─ " };
                let color = if platform.available { NORMAL } else { FAINT };
                let text = format!("{branch}{}", platform.name);
                out.push_str(&set(names, false, &text, |text| self.colored(color, text)));
                self.details(&mut out, &columns, color, &platform.details);
                out.push('\n');
            }
            out.push('\n');
        }
        out
    }

    /// The names' width, and the other columns that have room.
    fn columns(&self, images: &[Image]) -> (usize, Vec<Column>) {
        let in_use = images.iter().any(|image| image.details.in_use);
        let chips: fn(&Tree, &Details) -> String = match in_use {
            true => |tree, details| match (details.in_use, tree.terminal) {
                (true, _) => tree.chip(),
                (false, true) => " ".repeat(3),
                (false, false) => " ".to_owned(),
            },
            false => |_, _| String::new(),
        };
        let all = [
            Column { title: "ID", width: 12, right: false, value: |_, d| units::short_id(&d.id).to_owned() },
            Column { title: "DISK USAGE", width: 10, right: true, value: |_, d| d.disk_usage.clone() },
            Column { title: "CONTENT SIZE", width: 12, right: true, value: |_, d| d.content_size.clone() },
            Column { title: "EXTRA", width: 5, right: false, value: chips },
        ];
        let mut room = self.width;
        let mut columns = Vec::new();
        for column in all {
            let taken = column.width + SPACING;
            if room < MIN_NAMES + taken {
                break;
            }
            room -= taken;
            columns.push(column);
        }
        // in bytes, so that a branch has air behind it
        let names = images.iter().flat_map(|image| image.names.iter().map(String::len));
        let platforms = images.iter().flat_map(|image| &image.platforms).map(|p| p.name.len() + "└─ ".len());
        let widest = names.chain(platforms).max().unwrap_or(0).max("Image".len());
        (room.min(widest), columns)
    }

    fn details(&self, out: &mut String, columns: &[Column], color: &str, details: &Details) {
        for column in columns {
            let value = (column.value)(self, details);
            let plain = column.title == "EXTRA";
            out.push_str(&" ".repeat(SPACING));
            out.push_str(&set(column.width, column.right, &value, |text| {
                if plain { text.to_owned() } else { self.colored(color, text) }
            }));
        }
    }
}

/// A text in a column; what is too long is cut.
fn set(columns: usize, right: bool, text: &str, color: impl Fn(&str) -> String) -> String {
    let own = width(text);
    if own > columns {
        return color(&clip(text, columns));
    }
    let space = " ".repeat(columns - own);
    if right { format!("{space}{}", color(text)) } else { format!("{}{space}", color(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<Image> {
        let document = serde_json::json!([{
            "Id": "sha256:d5ed4dcd826d0000", "RepoTags": ["busybox:latest", "other/repo:1.0"], "Created": 5, "Size": 1_980_000,
            "Containers": 2, "Manifests": [{
                "ID": "sha256:d5ed4dcd826d0000", "Kind": "image", "Available": true,
                "Size": {"Total": 4_110_000, "Content": 2_130_000},
                "ImageData": {"Platform": {"os": "linux", "architecture": "amd64"}, "Containers": ["x"]},
            }],
        }]);
        document.as_array().unwrap().iter().map(Image::read).collect()
    }

    #[test]
    fn a_tree_without_a_terminal() {
        let text = Tree { terminal: false, width: 80 }.draw(&images());
        let lines: Vec<&str> = text.lines().skip(4).collect();
        assert_eq!(
            lines,
            [
                "busybox:latest",
                "other/repo:1.0       d5ed4dcd826d       1.98MB         2.13MB   U    ",
                "└─ linux/amd64       d5ed4dcd826d       4.11MB         2.13MB   U    ",
                "",
            ]
        );
        let narrow = Tree { terminal: false, width: 40 }.draw(&images());
        assert!(
            narrow.contains("DISK USAGE") == narrow.contains("1.98MB") && !narrow.contains("CONTENT SIZE")
        );
    }
}
