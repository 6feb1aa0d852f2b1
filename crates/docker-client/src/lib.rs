//! Client of the Docker Engine API: unix, TCP, TLS, hijacked streams
