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
        users: side((&free.users, &free.taken_users), asked.size, &asked.users, "users")?,
        groups: side((&free.groups, &free.taken_groups), asked.size, &asked.groups, "groups")?,
    })
}

/// A mapping that was asked for needs not be in the pool, but is no exception from whom ids belong to.
fn check(asked: &[IdMapping], taken: &IdSet, what: &str) -> Result<()> {
    let overlap = |a: Span, b: Span| a.start < b.end && b.start < a.end;
    let inside = |map: &IdMapping| Span::new(map.container_id, map.size);
    let outside = |map: &IdMapping| Span::new(map.host_id, map.size);
    for (number, map) in asked.iter().enumerate() {
        let before = &asked[..number];
        if before.iter().any(|other| overlap(inside(other), inside(map))) {
            return Err(Error::Invalid(format!("the mappings of {what} overlap in the container")));
        }
        if before.iter().any(|other| overlap(outside(other), outside(map))) {
            return Err(Error::Invalid(format!("the mappings of {what} overlap on the host")));
        }
        let IdMapping { container_id, host_id, size } = map;
        if *host_id == 0 {
            return Err(Error::Invalid(format!(
                "the mapping {container_id}:0:{size} of {what} gives the container the host's root"
            )));
        }
        if taken.touches(outside(map)) {
            return Err(Error::Conflict(format!(
                "the mapping {container_id}:{host_id}:{size} of {what} has ids of another container or of userns-remap"
            )));
        }
    }
    Ok(())
}

/// What was asked for as it was, and the container's other ids in one row out of the free ones.
fn side(
    (free, taken): (&IdSet, &IdSet),
    size: Option<u32>,
    asked: &[IdMapping],
    what: &str,
) -> Result<Vec<IdMapping>> {
    let mut inside = IdSet::of([Span::new(0, size.unwrap_or(SIZE))]);
    let mut outside = free.clone();
    check(asked, taken, what)?;
    for map in asked {
        inside.remove(Span::new(map.container_id, map.size));
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
        Pool::of(set.clone(), set)
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
        assert!(maps(&pool(), &auto("size=10,uidmapping=5:1:2,uidmapping=9:2:1"), &[]).is_err());
    }

    #[test]
    fn asked_mappings_are_nobody_elses() {
        let map = |host_id| vec![IdMapping { container_id: 0, host_id, size: 10 }];
        let mut pool = pool();
        let remapped = IdMaps { users: map(500), groups: map(600) };
        pool.remove(&remapped);
        let others = [IdMaps { users: map(1000), groups: map(7000) }];
        let made = |options: &str| {
            maps(&pool, &auto(&format!("size=5,{options}")), &others)
                .map_or_else(|error| error.to_string(), |_| "fine".to_owned())
        };
        let conflict = |text: &str, what: &str| {
            format!("the mapping {text} of {what} has ids of another container or of userns-remap")
        };
        assert_eq!(made("uidmapping=0:1009:1"), conflict("0:1009:1", "users"));
        assert_eq!(made("gidmapping=0:6999:2"), conflict("0:6999:2", "groups"));
        assert_eq!(made("uidmapping=0:509:2"), conflict("0:509:2", "users"));
        assert_eq!(made("uidmapping=0:510:2,gidmapping=0:1000:2"), "fine");
        assert_eq!(
            made("gidmapping=0:0:1"),
            "the mapping 0:0:1 of groups gives the container the host's root"
        );
    }
}
