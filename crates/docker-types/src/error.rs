//! The body of every error reply.

api_struct! {
    pub struct ErrorResponse {
        message: String = "message",
    }
}
