//! Platforms: operating system, architecture and variant, normalised and ordered by what a machine can run.
//!
//! Standard: <https://github.com/opencontainers/image-spec/blob/main/image-index.md> and Go's `GOOS`/`GOARCH` names.
//! Invariant: a normalised platform compares by plain equality.
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an image was built for.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(
        default,
        rename = "os.features",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::image::lenient::or_default"
    )]
    pub os_features: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlatform {
    #[error(
        "{0:?} is an invalid component of {1:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\""
    )]
    Component(String, String),
    #[error(
        "{0:?} is an invalid OS component of {1:?}: OSAndVersion specifier component must match \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)((?:\\\\+[A-Za-z0-9_.-]+)*)\\\\))?$\""
    )]
    Os(String, String),
    #[error("{0:?}: unknown operating system or architecture")]
    Unknown(String),
    #[error("{0:?}: cannot parse platform specifier")]
    Shape(String),
}

const KNOWN_OS: [&str; 16] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
];
const KNOWN_ARCHITECTURES: [&str; 17] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc", "ppc64",
    "ppc64le", "riscv", "riscv64", "s390x", "sparc64", "wasm",
];

impl Platform {
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            ..Self::default()
        }
        .normalized()
    }

    /// The machine that this program was built for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, if std::env::consts::ARCH == "arm" { "v7" } else { "" })
    }

    /// Parses `os`, `arch`, `os/arch` or `os/arch/variant`; what is not given is the host's.
    pub fn parse(text: &str) -> Result<Self, InvalidPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        for (place, part) in parts.iter().enumerate() {
            let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            if part.is_empty() || !part.bytes().all(good) {
                let kind = if place == 0 { InvalidPlatform::Os } else { InvalidPlatform::Component };
                return Err(kind((*part).to_owned(), text.to_owned()));
            }
        }
        match parts.as_slice() {
            [one] => {
                let os = normal_os(one);
                if KNOWN_OS.contains(&os.as_str()) {
                    return Ok(Self { os, ..Self::host() });
                }
                let (architecture, variant) = normal_architecture(one, "");
                if KNOWN_ARCHITECTURES.contains(&architecture.as_str()) {
                    return Ok(Self { architecture, variant, os: "linux".to_owned(), ..Self::default() });
                }
                Err(InvalidPlatform::Unknown(text.to_owned()))
            }
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(InvalidPlatform::Shape(text.to_owned())),
        }
    }

    /// One spelling for each platform: `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let (architecture, variant) = normal_architecture(&self.architecture, &self.variant);
        Self { os: normal_os(&self.os), architecture, variant, ..self.clone() }
    }

    /// What a machine of this platform can run, best first.
    pub fn runnable(&self) -> Vec<Self> {
        let own = self.normalized();
        let with = |architecture: &str, variant: &str| Self {
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os: own.os.clone(),
            ..Self::default()
        };
        let below = |architecture: &str, from: u32, to: u32| -> Vec<Self> {
            (to..=from).rev().map(|v| with(architecture, &format!("v{v}"))).collect()
        };
        let number = own.variant.strip_prefix('v').and_then(|v| v.parse::<u32>().ok()).filter(|v| *v <= 16);
        let mut list = vec![Self { os_version: None, os_features: Vec::new(), ..own.clone() }];
        match (own.architecture.as_str(), number) {
            ("arm64", _) => {
                if !own.variant.is_empty() {
                    list.push(with("arm64", ""));
                }
                list.extend(below("arm", 8, 5));
            }
            ("arm", Some(v)) if v > 5 => list.extend(below("arm", v - 1, 5)),
            ("amd64", v) => {
                if let Some(v) = v {
                    list.extend(below("amd64", v.saturating_sub(1), 2));
                    list.push(with("amd64", ""));
                }
                list.push(with("386", ""));
            }
            _ => {}
        }
        list
    }

    /// How well an image of platform `image` runs here: 0 is best, none is not at all.
    pub fn rank(&self, image: &Self) -> Option<usize> {
        let image = image.normalized();
        self.runnable().iter().position(|p| {
            p.os == image.os && p.architecture == image.architecture && p.variant == image.variant
        })
    }

    /// The very same operating system, architecture and variant.
    pub fn is_same(&self, other: &Self) -> bool {
        let (a, b) = (self.normalized(), other.normalized());
        a.os == b.os && a.architecture == b.architecture && a.variant == b.variant
    }

    /// Attestations and the like, which stand in an index under the platform `unknown/unknown`.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

fn normal_os(os: &str) -> String {
    let os = os.to_ascii_lowercase();
    match os.as_str() {
        "" => "linux".to_owned(),
        "macos" => "darwin".to_owned(),
        _ => os,
    }
}

fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let pair = |a: &str, v: &str| (a.to_owned(), v.to_owned());
    match (architecture.as_str(), variant.as_str()) {
        ("i386" | "i686" | "x86", _) => pair("386", ""),
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => pair("amd64", ""),
        ("x86_64" | "x86-64", v) => pair("amd64", v),
        ("aarch64" | "arm64", "" | "8" | "v8" | "v8.0") => pair("arm64", ""),
        ("aarch64" | "arm64", "9" | "v9" | "v9.0") => pair("arm64", "v9"),
        ("aarch64", v) => pair("arm64", v),
        ("armhf", _) => pair("arm", "v7"),
        ("armel", _) => pair("arm", "v6"),
        ("arm", "" | "7") => pair("arm", "v7"),
        ("arm", v @ ("5" | "6" | "8")) => pair("arm", &format!("v{v}")),
        _ => (architecture, variant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("Linux/AARCH64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
            ("i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), normal);
        }
        assert_eq!(Platform::parse("linux").unwrap(), Platform::host());
        for bad in ["", "/", "linux/", "a/b/c/d", "lin ux/amd64", "frob"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn order_of_preference() {
        let amd = Platform::new("linux", "amd64", "");
        assert_eq!(amd.rank(&Platform::new("linux", "amd64", "")), Some(0));
        assert_eq!(amd.rank(&Platform::new("linux", "386", "")), Some(1));
        assert_eq!(amd.rank(&Platform::new("linux", "arm64", "")), None);
        assert_eq!(amd.rank(&Platform::new("windows", "amd64", "")), None);
        let arm64 = Platform::new("linux", "arm64", "v8");
        assert_eq!(arm64.rank(&Platform::new("linux", "arm64", "")), Some(0));
        assert!(
            arm64.rank(&Platform::new("linux", "arm", "v7"))
                < arm64.rank(&Platform::new("linux", "arm", "v6"))
        );
        let v6 = Platform::new("linux", "arm", "v6");
        assert_eq!(v6.rank(&Platform::new("linux", "arm", "v7")), None);
        assert_eq!(v6.rank(&Platform::new("linux", "arm", "v5")), Some(1));
        let v3 = Platform::new("linux", "amd64", "v3");
        let names: Vec<String> = v3.runnable().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]);
    }

    proptest! {
        #[test]
        fn never_panics_and_normal_form_is_fixed(text in "[a-zA-Z0-9/._v-]{0,40}") {
            if let Ok(platform) = Platform::parse(&text) {
                prop_assert_eq!(platform.normalized(), platform.clone());
                prop_assert!(!platform.runnable().is_empty());
            }
        }
    }
}
