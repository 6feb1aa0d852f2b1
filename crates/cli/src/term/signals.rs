//! Signals that this process gets and the container should have.
use crate::failure::{Failure, Outcome};
use knarr_docker_client::Client;
use std::cell::Cell;
use std::rc::Rc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What is passed on: HUP, INT, QUIT, TRAP, ABRT, USR1, USR2, ALRM, TERM, STKFLT, CONT, TSTP, TTIN, TTOU, XCPU, XFSZ, VTALRM, PROF,
/// IO, PWR, SYS, and the real-time signals (with which systemd as the first process of a container is told what to do).
/// CHLD, PIPE and URG are our own business, WINCH is a resize: some servers end by it.
const FORWARDED: [i32; 21] = [1, 2, 3, 5, 6, 10, 12, 14, 15, 16, 18, 20, 21, 22, 24, 25, 26, 27, 29, 30, 31];
/// Those that are nobody's but the C library's come before.
const REAL_TIME: std::ops::RangeInclusive<i32> = 35..=64;
const ENDINGS: [i32; 2] = [2, 15];
/// Signals remembered while one is being delivered.
const QUEUE: usize = 128;

/// As many SIGINT or SIGTERM say that nobody wants to wait any more.
const FORCE: u32 = 3;

/// Passes signals on until dropped.
pub struct Proxy {
    tasks: Vec<JoinHandle<()>>,
    forced: Rc<Notify>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Does `work`, unless a container that does not end is given up by SIGINT or SIGTERM three times.
pub async fn or_forced<T>(proxy: Option<&Proxy>, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let Some(proxy) = proxy else { return work.await };
    tokio::select! {
        outcome = work => outcome,
        () = proxy.forced.notified() => {
            Err(Failure::with_code(1, "\ngot 3 SIGTERM/SIGINTs, forcefully exiting"))
        }
    }
}

/// Starts catching signals now: none is lost between the container's start and the first delivery.
pub fn proxy(client: &Client, container: &str) -> Proxy {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(QUEUE);
    let mut tasks = Vec::new();
    let (forced, endings) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
    for number in FORWARDED.into_iter().chain(REAL_TIME) {
        let Ok(mut caught) = signal(SignalKind::from_raw(number)) else { continue };
        let sender = sender.clone();
        let (forced, endings) = (Rc::clone(&forced), Rc::clone(&endings));
        tasks.push(tokio::task::spawn_local(async move {
            while caught.recv().await.is_some() {
                if ENDINGS.contains(&number) {
                    endings.set(endings.get() + 1);
                    if endings.get() == FORCE {
                        forced.notify_one();
                    }
                }
                let _ = sender.try_send(number);
            }
        }));
    }
    let (client, path) = (client.clone(), format!("/containers/{container}/kill"));
    tasks.push(tokio::task::spawn_local(async move {
        while let Some(number) = receiver.recv().await {
            // the container may be gone already
            let _ = client.post(path.clone()).query("signal", number.to_string()).done().await;
        }
    }));
    Proxy { tasks, forced }
}

/// Resolves to the number of a signal that ends this program (TERM, HUP, INT, QUIT).
pub async fn ended() -> i32 {
    let mut waiting: Vec<_> =
        [1, 2, 3, 15].into_iter().filter_map(|n| Some((n, signal(SignalKind::from_raw(n)).ok()?))).collect();
    std::future::poll_fn(move |cx| {
        for (number, signal) in &mut waiting {
            if signal.poll_recv(cx).is_ready() {
                return std::task::Poll::Ready(*number);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
