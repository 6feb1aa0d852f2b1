//! Lines of the progress streams of pull, push, load and import.
use serde_json::Value;

api_struct! {
    pub struct Message {
        stream: String = "stream" omitempty,
        status: String = "status" omitempty,
        progress_detail: Option<Progress> = "progressDetail" omitempty,
        /// Deprecated text of the progress bar.
        progress: String = "progress" omitempty,
        id: String = "id" omitempty,
        error_detail: Option<ErrorDetail> = "errorDetail" omitempty,
        error: String = "error" omitempty,
        aux: Option<Value> = "aux" omitempty,
    }

    /// `{}` clears the bar.
    pub struct Progress {
        current: i64 = "current" omitempty,
        total: i64 = "total" omitempty,
        start: i64 = "start" omitempty,
        hide_counts: bool = "hidecounts" omitempty,
        units: String = "units" omitempty,
        /// Bytes that will come, told before any came. Knarr's own: other clients know no such field.
        size: i64 = "size" omitempty,
    }

    pub struct ErrorDetail {
        code: i64 = "code" omitempty,
        message: String = "message" omitempty,
    }
}

impl Message {
    pub fn status(text: impl Into<String>) -> Self {
        Self { status: text.into(), ..Self::default() }
    }
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: text.into(), ..Self::default() }
    }
    pub fn error(text: impl Into<String>) -> Self {
        let message = text.into();
        let detail = ErrorDetail { message: message.clone(), ..ErrorDetail::default() };
        Self { error_detail: Some(detail), error: message, ..Self::default() }
    }
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }
    pub fn with_progress(self, current: i64, total: i64) -> Self {
        Self { progress_detail: Some(Progress { current, total, ..Progress::default() }), ..self }
    }
}
