//! Named volumes
