//! At the engine's start: what is recorded and what is observed, compared.
use crate::engine::Inner;
use crate::error::Result;
use std::sync::Arc;

pub(crate) async fn run(_engine: &Arc<Inner>) -> Result<()> {
    Ok(())
}
