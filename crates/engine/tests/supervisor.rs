//! The client of a supervisor against one that a test plays: answers out of order, events between, a death in the middle.
use knarr_base::{ErrorKind, Kind};
use knarr_engine::supervisor::{Error, ShimHandle, records};
use knarr_shim_proto::*;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

fn listen(dir: &Path) -> UnixListener {
    UnixListener::bind(dir.join(file::SOCKET)).unwrap()
}

async fn request(from: &mut UnixStream) -> Request {
    let mut header = [0; frame::HEADER];
    from.read_exact(&mut header).await.unwrap();
    let mut json = vec![0; frame::length(header).unwrap()];
    from.read_exact(&mut json).await.unwrap();
    frame::decode(&json).unwrap()
}

async fn send(to: &mut UnixStream, message: FromShim) {
    to.write_all(&frame::encode(&message).unwrap()).await.unwrap();
}

fn reply(number: u64, result: Result<Answer, Failure>) -> FromShim {
    FromShim::Reply(Reply { number, result })
}

fn record(code: i32) -> ExitRecord {
    let exited_at = "2024-01-02T03:04:05.6Z".parse().unwrap();
    ExitRecord { pid: 5, code, signal: None, oom_killed: false, exited_at, error: None, log_lost: 0 }
}

#[tokio::test]
async fn answers_find_their_requests_among_events() {
    let dir = tempfile::tempdir().unwrap();
    let listener = listen(dir.path());
    let (handle, mut events) = ShimHandle::connect(dir.path()).await.unwrap();
    let (mut shim, _) = listener.accept().await.unwrap();
    let (killing, starting) = (handle.clone(), handle.clone());
    let kill = tokio::spawn(async move { killing.kill(9).await });
    let first = request(&mut shim).await;
    let start = tokio::spawn(async move { starting.start().await });
    let second = request(&mut shim).await;
    assert!(matches!(first.call, Call::Kill { signal: 9, .. }) && matches!(second.call, Call::Start));
    send(&mut shim, FromShim::Event(Event::Oom)).await;
    let failure = Failure::new(FailureKind::CommandNotFound, "exec: \"x\": not found");
    send(&mut shim, reply(second.number, Err(failure.clone()))).await;
    send(&mut shim, FromShim::Event(Event::Exited(record(3)))).await;
    send(&mut shim, reply(77, Ok(Answer::Done))).await;
    send(&mut shim, reply(first.number, Ok(Answer::Done))).await;
    kill.await.unwrap().unwrap();
    let error = start.await.unwrap().unwrap_err();
    assert_eq!(error.failure(), Some(&failure));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(events.recv().await, Some(Event::Oom));
    assert_eq!(events.recv().await, Some(Event::Exited(record(3))));
    // It dies: the events end, and what waits or comes later is told.
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.state().await }
    });
    request(&mut shim).await;
    drop(shim);
    assert!(matches!(waiting.await.unwrap(), Err(Error::Gone)));
    assert_eq!(events.recv().await, None);
    assert!(matches!(handle.start().await, Err(Error::Gone)));
}

#[tokio::test]
async fn a_stream_begins_right_after_its_reply() {
    let dir = tempfile::tempdir().unwrap();
    // A path longer than a socket's name may be.
    let deep = dir.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let short = dir.path().join("s");
    let listener = UnixListener::bind(&short).unwrap();
    std::fs::rename(&short, deep.join(file::SOCKET)).unwrap();
    let (handle, _events) = ShimHandle::connect(&deep).await.unwrap();
    let (_control, _) = listener.accept().await.unwrap();
    let attach = tokio::spawn(async move { handle.attach(Streams::ALL).await });
    let (mut shim, _) = listener.accept().await.unwrap();
    let asked = request(&mut shim).await;
    let mut bytes = frame::encode(&FromShim::Event(Event::Oom)).unwrap();
    bytes.extend(frame::encode(&reply(asked.number, Ok(Answer::Done))).unwrap());
    bytes.extend_from_slice(b"output at once");
    shim.write_all(&bytes).await.unwrap();
    shim.shutdown().await.unwrap();
    let mut stream = attach.await.unwrap().unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "output at once");
    stream.write_all(b"input").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    shim.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "input");
}

#[tokio::test]
async fn records_say_who_lives() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(records::exit(dir.path()).await.unwrap(), None);
    assert!(matches!(ShimHandle::connect(dir.path()).await, Err(Error::Connect { .. })));
    std::fs::write(dir.path().join(file::EXIT), serde_json::to_vec(&record(9)).unwrap()).unwrap();
    assert_eq!(records::exit(dir.path()).await.unwrap(), Some(record(9)));
    std::fs::write(dir.path().join(file::EXIT), b"{torn").unwrap();
    assert!(records::exit(dir.path()).await.is_err());
    let own = std::process::id() as i32;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let time = exit::start_time_of_stat(&stat).unwrap();
    let mut shim =
        ShimRecord { shim_pid: own, shim_start_time: time, pid: own, pid_start_time: time, started_at: None };
    assert!(records::is_shim_alive(&shim).await && records::is_init_alive(&shim).await);
    // Another process with the same number.
    shim.shim_start_time += 1;
    assert!(!records::is_shim_alive(&shim).await);
}
