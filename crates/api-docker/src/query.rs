//! Query parameters with Docker's meaning of booleans and numbers, and percent-decoding.
use crate::error::ApiError;
use knarr_docker_types::Filters;
use knarr_docker_types::platform::Platform;

/// Parameters of one request, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// Most parameters that a request may have.
const MAX_PARAMETERS: usize = 1024;

impl Query {
    pub fn parse(query: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode_form(name)?, decode_form(value)?));
            if pairs.len() > MAX_PARAMETERS {
                return Err(ApiError::invalid("too many query parameters"));
            }
        }
        Ok(Self(pairs))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }
    /// The first value; empty when it was not given.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }
    /// Anything but nothing, `0`, `no`, `false` and `none` is true.
    pub fn bool(&self, name: &str) -> bool {
        let value = self.get(name).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }
    pub fn bool_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) { self.bool(name) } else { default }
    }
    /// A number; `None` when it was not given.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.parse::<i64>();
        let invalid = |_| ApiError::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
        number.map(Some).map_err(invalid)
    }
    /// Height or width of a terminal.
    pub fn dimension(&self, name: &str, word: &str) -> Result<u16, ApiError> {
        let text = self.get(name);
        let number = text.strip_prefix('-').unwrap_or(text);
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let error = |why| ApiError::invalid(format!("invalid resize {word} {text:?}: {why}"));
        if !digits {
            return Err(error("invalid syntax"));
        }
        let wide = text.parse::<u32>().map_err(|_| error("value out of range"))?;
        Ok(u16::try_from(wide).unwrap_or(u16::MAX))
    }
    pub fn filters(&self) -> Result<Filters, ApiError> {
        Ok(Filters::parse(self.get("filters"))?)
    }
    /// `os[/arch[/variant]]`, as `create` and `pull` take it.
    pub fn platform_text(&self, name: &str) -> Result<Option<Platform>, ApiError> {
        let text = self.get(name);
        if text.is_empty() { Ok(None) } else { Ok(Some(knarr_engine::parse_platform(text)?)) }
    }
    /// JSON of an OCI platform, as newer endpoints take it.
    pub fn platform_json(&self, name: &str) -> Result<Option<Platform>, ApiError> {
        let text = self.get(name);
        if text.is_empty() { Ok(None) } else { json_platform(text).map(Some) }
    }
    /// The same for a parameter that may be given several times.
    pub fn platforms_json(&self, name: &str) -> Result<Vec<Platform>, ApiError> {
        self.all(name).iter().filter(|text| !text.is_empty()).map(|text| json_platform(text)).collect()
    }
}

fn json_platform(text: &str) -> Result<Platform, ApiError> {
    let platform: Platform = serde_json::from_str(text)
        .map_err(|error| ApiError::invalid(format!("failed to parse platform: {error}")))?;
    if platform.os.is_empty() || platform.architecture.is_empty() {
        return Err(ApiError::invalid("both OS and Architecture must be provided"));
    }
    Ok(platform)
}

fn decode_form(text: &str) -> Result<String, ApiError> {
    percent_decode(&text.replace('+', " "))
}

/// Decodes `%41`; refuses what is not UTF-8 and the zero byte.
pub fn percent_decode(text: &str) -> Result<String, ApiError> {
    let invalid = || ApiError::invalid(format!("invalid URL escape in {text:?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok()).ok_or_else(invalid)?;
        if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        bytes.push(u8::from_str_radix(pair, 16).map_err(|_| invalid())?);
        rest = &tail[2..];
    }
    if bytes.contains(&0) {
        return Err(invalid());
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    #[test]
    fn booleans_are_dockers() {
        for falsy in ["x=", "x=0", "x=no", "x=False", "x=NONE", "x=%20", "y=1", ""] {
            assert!(!query(falsy).bool("x"), "{falsy}");
        }
        for truthy in ["x=1", "x=true", "x=yes", "x=2", "x=whatever"] {
            assert!(query(truthy).bool("x"), "{truthy}");
        }
        assert!(query("").bool_or("x", true) && !query("x=").bool_or("x", true));
    }

    #[test]
    fn numbers_are_checked() {
        assert_eq!(query("t=-1").integer("t"), Ok(Some(-1)));
        assert_eq!(query("t=").integer("t"), Ok(None));
        let error = query("t=abc").integer("t").unwrap_err();
        assert_eq!(
            (error.status.as_u16(), error.message.as_str()),
            (400, "strconv.Atoi: parsing \"abc\": invalid syntax")
        );
        assert_eq!(query("h=24").dimension("h", "height"), Ok(24));
        for bad in ["h=", "h=-1", "h=+5", "h=x", "h=99999999999"] {
            assert!(query(bad).dimension("h", "height").is_err(), "{bad}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(query("a=b%2Fc+d&a=e").all("a"), ["b/c d", "e"]);
        for bad in ["a=%", "a=%4", "a=%zz", "a=%00", "a=%ff", "a=%+1"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn platforms() {
        let parse = |text: &str| {
            let p = query(&format!("p={text}")).platform_text("p").unwrap().unwrap();
            format!("{}/{}/{}", p.os, p.architecture, p.variant)
        };
        assert_eq!(parse("linux/arm64/v8"), "linux/arm64/v8");
        assert_eq!(parse("x86_64"), "linux/amd64/");
        assert!(["linux/amd64/", "linux/arm64/"].contains(&parse("Linux").as_str()), "the host's");
        for (text, why) in [
            ("%20", "\" \" is an invalid OS component of \" \""),
            ("nintendo64", "\"nintendo64\": unknown operating system or architecture: invalid argument"),
        ] {
            let error = query(&format!("p={text}")).platform_text("p").unwrap_err();
            assert!(error.message.starts_with(why), "{}", error.message);
        }
        for bad in ["a/b/c/d", "a//b", "linux/$"] {
            assert!(query(&format!("p={bad}")).platform_text("p").is_err(), "{bad}");
        }
        assert!(query("p=%7B%22os%22%3A%22linux%22%7D").platform_json("p").is_err());
    }
}
