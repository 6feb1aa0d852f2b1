//! One request on its way to a handler.
use crate::activity::Activity;
use crate::connection::Call;
use crate::error::ApiError;
use crate::json;
use crate::query::Query;
use crate::registry_auth;
use crate::request_body::RequestBody;
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use http_body_util::BodyStream;
use knarr_docker_types::ApiVersion;
use knarr_docker_types::registry::AuthConfig;
use knarr_engine::Engine;
use serde::de::DeserializeOwned;
use std::io;
use tokio_util::io::StreamReader;

/// What a handler gets.
pub struct Context {
    pub engine: Engine,
    pub version: ApiVersion,
    /// What stood for the `{}` of the route's path.
    pub name: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: RequestBody,
    /// Whether the connection can be taken away from HTTP.
    pub can_hijack: bool,
    pub activity: Activity,
}

impl Context {
    pub fn new(engine: Engine, name: String, call: Call) -> Self {
        let Call { version, query, headers, body, can_hijack, activity, .. } = call;
        Self { engine, version, name, query, headers, body, can_hijack, activity }
    }

    /// The JSON body; the default value when there is none.
    pub async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        Ok(self.json_optional().await?.unwrap_or_default())
    }

    /// The JSON body, if there is one.
    pub async fn json_optional<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ApiError> {
        let empty = json::is_empty(&self.headers, &self.body);
        json::check_content_type(&self.headers, empty)?;
        if empty {
            return Ok(None);
        }
        json::decode(&json::read(&mut self.body).await?).map(Some)
    }

    /// The bytes of a JSON body that must be there.
    pub async fn json_bytes(&mut self) -> Result<Bytes, ApiError> {
        json::check_content_type(&self.headers, json::is_empty(&self.headers, &self.body))?;
        json::read(&mut self.body).await
    }

    /// The body as a stream of bytes.
    pub fn into_reader(self) -> knarr_engine::Body {
        reader(self.body)
    }

    pub fn auth(&self) -> Option<AuthConfig> {
        registry_auth::from_headers(&self.headers)
    }
}

/// A body as a stream of bytes.
pub fn reader(body: RequestBody) -> knarr_engine::Body {
    let chunks = BodyStream::new(body).filter_map(|frame| async {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(io::Error::other(error))),
        }
    });
    Box::pin(StreamReader::new(Box::pin(chunks)))
}
