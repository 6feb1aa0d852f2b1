//! Ids of a container's own, out of the pool. Pure.
use super::SIZE;
use super::mode::Auto;
use super::ranges::{IdSet, Pool, Span};
use crate::error::{Error, Result};
use crate::record::IdMaps;
use knarr_oci::runtime::IdMapping;

/// Maps that no other container has a part of. `others` are the maps of all that exist.
pub(crate) fn maps(pool: &Pool, asked: &Auto, others: &[IdMaps]) -> Result<IdMaps> {
    let mut free = pool.clone();
    others.iter().for_each(|maps| free.remove(maps));
    Ok(IdMaps {
        users: side(&free.users, asked.size, &asked.users, "users")?,
        groups: side(&free.groups, asked.size, &asked.groups, "groups")?,
    })
}

/// What was asked for as it was, and the container's other ids in one row out of the free ones.
fn side(free: &IdSet, size: Option<u32>, asked: &[IdMapping], what: &str) -> Result<Vec<IdMapping>> {
    let mut inside = IdSet::of([Span::new(0, size.unwrap_or(SIZE))]);
    let mut outside = free.clone();
    for (number, map) in asked.iter().enumerate() {
        let span = Span::new(map.container_id, map.size);
        let twice = |other: &IdMapping| {
            let other = Span::new(other.container_id, other.size);
            span.start < other.end && other.start < span.end
        };
        if asked[..number].iter().any(twice) {
            return Err(Error::Invalid(format!("the mappings of {what} overlap in the container")));
        }
        inside.remove(span);
        outside.remove(Span::new(map.host_id, map.size));
    }
    let width = |span: &Span| u32::try_from(span.end - span.start).unwrap_or(u32::MAX);
    let count: u32 = inside.spans().iter().map(width).sum();
    let mut maps = asked.to_vec();
    if count > 0 {
        let mut host = outside.first(count).ok_or_else(|| {
            Error::Unavailable(format!("no {count} ids of {what} in a row are free for --userns auto"))
        })?;
        for span in inside.spans() {
            let container_id = u32::try_from(span.start).unwrap_or(u32::MAX);
            maps.push(IdMapping { container_id, host_id: host, size: width(span) });
            host = host.saturating_add(width(span));
        }
    }
    maps.sort_by_key(|map| map.container_id);
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::userns::Mode;

    fn pool() -> Pool {
        let set = IdSet::of([Span::new(1000, 300)]);
        Pool { users: set.clone(), groups: set }
    }

    fn auto(options: &str) -> Auto {
        match Mode::parse(&format!("auto:{options}")).unwrap() {
            Mode::Auto(auto) => auto,
            other => panic!("{other:?}"),
        }
    }

    fn text(maps: &[IdMapping]) -> String {
        let one = |m: &IdMapping| format!("{}:{}:{}", m.container_id, m.host_id, m.size);
        maps.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn nobody_gets_what_another_has() {
        let mut others = Vec::new();
        for expected in ["0:1000:100", "0:1100:100", "0:1200:100"] {
            let maps = maps(&pool(), &auto("size=100"), &others).unwrap();
            assert_eq!((text(&maps.users), text(&maps.groups)), (expected.to_owned(), expected.to_owned()));
            others.push(maps);
        }
        assert!(maps(&pool(), &auto("size=1"), &others).is_err());
        others.remove(1);
        assert_eq!(text(&maps(&pool(), &auto("size=70"), &others).unwrap().users), "0:1100:70");
        assert!(maps(&pool(), &auto("size=101"), &others).is_err());
    }

    #[test]
    fn asked_mappings_are_kept_and_the_rest_goes_around_them() {
        let made = maps(&pool(), &auto("size=10,uidmapping=5:1000:2"), &[]).unwrap();
        assert_eq!(text(&made.users), "0:1002:5 5:1000:2 7:1007:3");
        assert_eq!(text(&made.groups), "0:1000:10");
        assert!(maps(&pool(), &auto("size=10,uidmapping=5:1:2,uidmapping=6:7:1"), &[]).is_err());
    }
}
