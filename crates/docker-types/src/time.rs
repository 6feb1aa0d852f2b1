//! Points in time as the API writes them: RFC 3339 with nanoseconds.

/// What Go prints for a time that was never set.
pub const ZERO: &str = "0001-01-01T00:00:00Z";
