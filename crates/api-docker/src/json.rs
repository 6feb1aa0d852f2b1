//! JSON bodies of requests: bounded, checked as Docker checks them.
use crate::error::ApiError;
use crate::json_syntax;
use crate::request_body::RequestBody;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use knarr_base::ErrorKind;
use serde::de::DeserializeOwned;

/// Longest JSON body that is read.
pub const MAX_JSON_BODY: usize = 4 << 20;

/// Reads a whole body of at most [`MAX_JSON_BODY`].
pub async fn read(body: &mut RequestBody) -> Result<Bytes, ApiError> {
    match Limited::new(body, MAX_JSON_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::new(
            ErrorKind::TooLarge,
            format!("the request's body is longer than {MAX_JSON_BODY} bytes"),
        )),
        Err(error) => Err(ApiError::invalid(format!("reading the request's body: {error}"))),
    }
}

/// Whether a request has a body at all.
pub fn is_empty(headers: &HeaderMap, body: &RequestBody) -> bool {
    body.is_end_stream() || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0")
}

/// Refuses bodies that do not say that they are JSON (so that a web page's form cannot pose as a request).
pub fn check_content_type(headers: &HeaderMap, empty: bool) -> Result<(), ApiError> {
    let text = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    if text.is_empty() {
        let error = "malformed Content-Type header (): mime: no media type";
        return if empty { Ok(()) } else { Err(ApiError::invalid(error)) };
    }
    let media_type = text.split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let error = format!("unsupported Content-Type header ({text}): must be 'application/json'");
    Err(ApiError::invalid(error))
}

/// Decodes one JSON document.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::invalid("invalid JSON: got EOF while reading request body"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_eof() {
            return ApiError::invalid("invalid JSON: unexpected EOF");
        }
        if let Some(mistake) = inner.is_syntax().then(|| json_syntax::mistake(bytes)).flatten() {
            return ApiError::invalid(format!("invalid JSON: {mistake}"));
        }
        match path.as_str() {
            "." | "?" => ApiError::invalid(format!("invalid JSON: {inner}")),
            _ => ApiError::invalid(format!("invalid JSON: {path}: {inner}")),
        }
    })?;
    deserializer.end().map_err(|_| ApiError::invalid("unexpected content after JSON"))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_docker_types::container::CreateRequest;

    fn message(body: &str) -> String {
        decode::<CreateRequest>(body.as_bytes()).unwrap_err().message
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(message(""), "invalid JSON: got EOF while reading request body");
        assert_eq!(message("{} {}"), "unexpected content after JSON");
        assert_eq!(message("{\"Image\":"), "invalid JSON: unexpected EOF");
        let wanted = "invalid JSON: invalid character 'n' looking for beginning of object key string";
        assert_eq!(message("{nope}"), wanted);
        let text = message(r#"{"HostConfig":{"Memory":"1g"}}"#);
        assert!(text.starts_with("invalid JSON: HostConfig.Memory: invalid type: string \"1g\""), "{text}");
    }

    #[test]
    fn unknown_members_are_ignored_and_names_ignore_case() {
        let request: CreateRequest =
            decode(br#"{"image":"x","cmd":"ls","Nope":{"a":[1]},"hostconfig":{"memory":5}} "#).unwrap();
        assert_eq!(request.config.image, "x");
        assert_eq!(request.host_config.unwrap().resources.memory, 5);
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        let body = "[".repeat(100_000);
        assert!(decode::<serde_json::Value>(body.as_bytes()).is_err());
    }

    #[test]
    fn content_types() {
        let check = |value: Option<&str>, empty| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            }
            check_content_type(&headers, empty).is_ok()
        };
        assert!(check(Some("application/json"), false));
        assert!(check(Some("Application/JSON; charset=utf-8"), false));
        assert!(check(None, true));
        assert!(!check(None, false));
        assert!(!check(Some("text/plain"), true));
    }
}
