//! How a blob is sent: in one request, in one stream, or in pieces. Pure.
//!
//! Standard: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs>. A small blob goes with the
//! request that ends its upload. A large one goes in one piece as long as nobody minds, and goes on where it was after an
//! interruption; a server that finds a piece too large gets smaller ones, not below the least size that it named
//! (`OCI-Chunk-Min-Length`); one that takes no pieces at all gets the whole.
use http::StatusCode;

/// Up to this size a blob goes in one request.
const WHOLE_MAX_BYTES: u64 = 1 << 20;
/// Pieces are not made smaller than this.
const LEAST_PIECE_BYTES: u64 = 1 << 20;
/// The first size of pieces for a server that minds larger ones.
const FIRST_PIECE_BYTES: u64 = 64 << 20;

/// The next request of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The whole blob, which ends the upload.
    Whole,
    /// These bytes.
    Piece { from: u64, to: u64 },
    /// Nothing more: the upload ends.
    Finish,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The plan has changed: go on, after asking how much is there.
    Ask,
    /// The plan has changed: a new upload, from the beginning.
    Anew,
    /// Nothing can be done about it.
    Fail,
}

/// How one blob is sent to one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    size: u64,
    whole: bool,
    most: u64,
    least: u64,
}

impl Plan {
    pub fn new(size: u64) -> Self {
        Self { size, whole: size <= WHOLE_MAX_BYTES, most: u64::MAX, least: LEAST_PIECE_BYTES }
    }

    /// The least size of a piece that the server takes.
    pub fn set_least(&mut self, bytes: u64) {
        self.least = bytes.max(LEAST_PIECE_BYTES);
    }

    /// After `received` bytes are there.
    pub fn next(&self, received: u64) -> Step {
        if self.whole {
            return Step::Whole;
        }
        if received >= self.size {
            return Step::Finish;
        }
        // The last piece may be smaller than the least.
        let length = self.most.max(self.least).min(self.size - received);
        Step::Piece { from: received, to: received + length }
    }

    /// The server refused a step with this status.
    pub fn refused(&mut self, step: Step, status: StatusCode) -> Answer {
        match (step, status) {
            (Step::Piece { from, to }, StatusCode::PAYLOAD_TOO_LARGE) => {
                let smaller = ((to - from) / 2).min(FIRST_PIECE_BYTES).max(self.least);
                if smaller >= to - from {
                    return Answer::Fail;
                }
                self.most = smaller;
                Answer::Ask
            }
            (Step::Piece { .. }, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) => {
                self.whole = true;
                Answer::Anew
            }
            (Step::Piece { .. }, StatusCode::RANGE_NOT_SATISFIABLE) => Answer::Ask,
            // The upload has expired, or was another machine's.
            (_, StatusCode::NOT_FOUND) => Answer::Anew,
            _ => Answer::Fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn small_blobs_go_at_once_and_large_ones_as_a_stream() {
        for size in [0, 1, MIB] {
            assert_eq!(Plan::new(size).next(0), Step::Whole);
        }
        let plan = Plan::new(500 * MIB);
        assert_eq!(plan.next(0), Step::Piece { from: 0, to: 500 * MIB });
        assert_eq!(plan.next(123), Step::Piece { from: 123, to: 500 * MIB });
        assert_eq!(plan.next(500 * MIB), Step::Finish);
    }

    #[test]
    fn servers_that_mind_are_obeyed() {
        let mut plan = Plan::new(500 * MIB);
        let step = plan.next(0);
        assert_eq!(plan.refused(step, StatusCode::PAYLOAD_TOO_LARGE), Answer::Ask);
        assert_eq!(plan.next(0), Step::Piece { from: 0, to: 64 * MIB });
        plan.set_least(40 * MIB);
        let step = plan.next(0);
        assert_eq!(plan.refused(step, StatusCode::PAYLOAD_TOO_LARGE), Answer::Ask);
        let step = plan.next(0);
        assert_eq!(step, Step::Piece { from: 0, to: 40 * MIB });
        assert_eq!(plan.refused(step, StatusCode::PAYLOAD_TOO_LARGE), Answer::Fail);
        assert_eq!(plan.next(480 * MIB), Step::Piece { from: 480 * MIB, to: 500 * MIB });

        let mut plan = Plan::new(5 * MIB);
        let step = plan.next(0);
        assert_eq!(plan.refused(step, StatusCode::RANGE_NOT_SATISFIABLE), Answer::Ask);
        assert_eq!(plan.refused(step, StatusCode::NOT_FOUND), Answer::Anew);
        assert_eq!(plan.refused(step, StatusCode::BAD_REQUEST), Answer::Fail);
        assert_eq!(plan.refused(step, StatusCode::METHOD_NOT_ALLOWED), Answer::Anew);
        assert_eq!(plan.next(0), Step::Whole);
        assert_eq!(plan.refused(Step::Whole, StatusCode::METHOD_NOT_ALLOWED), Answer::Fail);
    }

    proptest! {
        /// Whatever a server refuses, the pieces cover the blob, each in its turn and none below the least size.
        #[test]
        fn pieces_cover_the_blob(size in MIB + 1..4000 * MIB, least in 0u64..200 * MIB, refusals in 0u32..12) {
            let mut plan = Plan::new(size);
            plan.set_least(least);
            for _ in 0..refusals {
                let step = plan.next(0);
                plan.refused(step, StatusCode::PAYLOAD_TOO_LARGE);
            }
            let (mut at, mut count) = (0, 0u64);
            while let Step::Piece { from, to } = plan.next(at) {
                prop_assert_eq!(from, at);
                prop_assert!(to > from && to <= size);
                prop_assert!(to == size || to - from >= least, "{} to {}", from, to);
                at = to;
                count += 1;
                prop_assert!(count <= 4000);
            }
            prop_assert_eq!(plan.next(at), Step::Finish);
            prop_assert_eq!(at, size);
        }
    }
}
