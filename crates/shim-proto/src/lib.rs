//! All that the supervisor and the engine agree on: messages, framing, exit record, log formats
