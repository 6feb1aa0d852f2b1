//! `system dial-stdio`: standard streams as a connection to the engine, for clients that come through ssh.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::failure::Outcome;
use crate::term::input;
use crate::term::output::{Output, Target};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const READ_BYTES: usize = 64 * 1024;

pub async fn dial(cli: Shared, _: Matches) -> Outcome {
    let (mut from_engine, mut to_engine) = tokio::io::split(cli.client().await?.dial().await?);
    let sending = async {
        let mut chunks = input::read();
        while let Some(chunk) = chunks.recv().await {
            if to_engine.write_all(&chunk).await.is_err() || to_engine.flush().await.is_err() {
                return;
            }
        }
        let _ = to_engine.shutdown().await;
        // the engine's answer may still be on its way
        std::future::pending::<()>().await;
    };
    let output = Output::default();
    let receiving = async {
        loop {
            let mut buffer = BytesMut::with_capacity(READ_BYTES);
            match from_engine.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) if output.write(Target::Stdout, buffer.freeze()).await => {}
                Ok(_) => return,
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
    Ok(output.finish().await?)
}
