//! The reply of endpoints that make something: exec create, commit.

api_struct! {
    pub struct IdResponse {
        id: String = "Id",
    }
}
