//! The Docker Engine API as data: one file per resource
