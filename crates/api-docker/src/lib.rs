//! The Docker Engine API over HTTP: translates, never decides
