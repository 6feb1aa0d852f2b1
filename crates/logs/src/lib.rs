//! Reading container logs: tail, since, until, follow across rotation.
