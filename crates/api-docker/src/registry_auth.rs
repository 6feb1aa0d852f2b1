//! The header `X-Registry-Auth`: base64url of an `AuthConfig`.
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use knarr_docker_types::registry::AuthConfig;

/// Longest header that is read.
const MAX_HEADER: usize = 64 * 1024;

/// Both alphabets, padded or not, as clients send them.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url = GeneralPurpose::new(&base64::alphabet::URL_SAFE, config);
    let standard = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    url.decode(text).or_else(|_| standard.decode(text)).ok()
}

/// The credentials of a request. As in Docker, a header that cannot be read is no credentials.
pub fn from_headers(headers: &HeaderMap) -> Option<AuthConfig> {
    let text = headers.get("x-registry-auth")?.to_str().ok()?;
    if text.is_empty() || text.len() > MAX_HEADER {
        return None;
    }
    let auth: AuthConfig = serde_json::from_slice(&decode_base64(text)?).ok()?;
    (auth != AuthConfig::default()).then_some(auth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(value: &str) -> Option<AuthConfig> {
        let mut headers = HeaderMap::new();
        headers.insert("x-registry-auth", value.parse().unwrap());
        from_headers(&headers)
    }

    #[test]
    fn padded_or_not_and_junk_is_nobody() {
        let json = br#"{"username":"u","password":"p?>~","serveraddress":"r:5000"}"#;
        let padded = base64::engine::general_purpose::URL_SAFE.encode(json);
        let bare = padded.trim_end_matches('=');
        for text in [padded.as_str(), bare] {
            assert_eq!(auth(text).unwrap().password, "p?>~");
        }
        for nobody in ["", "e30=", "bnVsbA==", "!!", "bm90IGpzb24="] {
            assert_eq!(auth(nobody), None, "{nobody}");
        }
    }
}
