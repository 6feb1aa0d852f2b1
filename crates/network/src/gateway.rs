//! Which of a container's endpoints has its default routes. Pure.
//!
//! Docker's order: the highest priority, then networks that lead somewhere, then those of both families, then by name.
use std::cmp::Reverse;

/// What matters of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub priority: i64,
    pub internal: bool,
    pub network: String,
    pub gateway4: bool,
    pub gateway6: bool,
}

/// Indexes of the endpoints for IPv4 and for IPv6. A family that none has a gateway for goes to the other one's.
pub(crate) fn elect(candidates: &[Candidate]) -> (Option<usize>, Option<usize>) {
    let rank =
        |c: &Candidate| (Reverse(c.priority), c.internal, !(c.gateway4 && c.gateway6), c.network.clone());
    let best = |has: fn(&Candidate) -> bool| {
        let with = candidates.iter().enumerate().filter(|(_, c)| has(c));
        with.min_by_key(|(_, c)| rank(c)).map(|(index, _)| index)
    };
    let (four, six) = (best(|c| c.gateway4), best(|c| c.gateway6));
    let any = four.or(six).or_else(|| best(|_| true));
    (four.or(any), six.or(any))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(network: &str, gateways: &str, priority: i64) -> Candidate {
        Candidate {
            priority,
            internal: gateways.is_empty(),
            network: network.to_owned(),
            gateway4: gateways.contains('4'),
            gateway6: gateways.contains('6'),
        }
    }

    fn elected(all: &[(&str, &str, i64)]) -> String {
        let candidates: Vec<Candidate> = all.iter().map(|(n, g, p)| candidate(n, g, *p)).collect();
        let (four, six) = elect(&candidates);
        let name = |index: Option<usize>| index.map_or("-", |i| all[i].0);
        format!("{} {}", name(four), name(six))
    }

    #[test]
    fn as_docker_chooses() {
        assert_eq!(elected(&[]), "- -");
        assert_eq!(elected(&[("b", "4", 0), ("a", "4", 0)]), "a a");
        assert_eq!(elected(&[("b", "4", 1), ("a", "4", 0)]), "b b");
        assert_eq!(elected(&[("b", "4", 0), ("a", "4", -1)]), "b b");
        assert_eq!(elected(&[("a", "", 0), ("b", "4", 0)]), "b b");
        assert_eq!(elected(&[("a", "4", 0), ("b", "46", 0)]), "b b");
        assert_eq!(elected(&[("a", "4", 9), ("b", "46", 0)]), "a b");
        assert_eq!(elected(&[("a", "6", 0), ("b", "4", 0)]), "b a");
        assert_eq!(elected(&[("a", "", 0)]), "a a");
    }
}
