use super::{Empty, List, Map};

api_struct! {
    /// Embedded by [`Outer`].
    pub struct Inner {
        memory: i64 = "Memory",
        name: String = "Name" omitempty,
    }
    pub struct Outer {
        binds: List<String> = "Binds",
        inner: Inner = flatten,
        labels: Map<String> = "Labels",
        ports: Map<Empty> = "Ports" omitempty,
        init: Option<bool> = "Init" omitempty,
        id: String = "Id",
    }
}

fn parse(text: &str) -> Outer {
    serde_json::from_str(text).unwrap()
}

#[test]
fn nil_prints_null_and_omitempty_is_omitted() {
    let text = serde_json::to_string(&Outer::default()).unwrap();
    assert_eq!(text, r#"{"Binds":null,"Memory":0,"Labels":null,"Id":""}"#);
}

#[test]
fn empty_is_not_nil() {
    let text =
        r#"{"Binds":[],"Memory":1,"Name":"x","Labels":{},"Ports":{"80/tcp":{}},"Init":false,"Id":"a"}"#;
    assert_eq!(serde_json::to_string(&parse(text)).unwrap(), text);
}

#[test]
fn member_names_ignore_case_but_map_keys_do_not() {
    let value =
        parse(r#"{"BINDS":["a"],"memory":5,"nAmE":"n","labels":{"Memory":"A","memory":"b"},"ID":"z"}"#);
    assert_eq!(value.binds, vec!["a".to_owned()]);
    assert_eq!((value.inner.memory, value.inner.name.as_str(), value.id.as_str()), (5, "n", "z"));
    assert_eq!(value.labels.len(), 2);
}

#[test]
fn exact_names_and_later_members_win() {
    assert_eq!(parse(r#"{"Id":"a","ID":"b"}"#).id, "b");
}

#[test]
fn null_is_accepted_for_every_member_and_element() {
    let value =
        parse(r#"{"Binds":[null,"a"],"Memory":null,"Labels":{"k":null},"Ports":null,"Init":null,"Id":null}"#);
    assert_eq!(value.binds, vec![String::new(), "a".to_owned()]);
    assert_eq!(value.labels["k"], "");
    assert_eq!((value.init, value.ports.is_nil()), (None, true));
}

#[test]
fn unknown_members_are_skipped_and_types_are_checked() {
    assert_eq!(parse(r#"{"Zzz":{"deep":[1,{"x":null}]},"Memory":3}"#).inner.memory, 3);
    for bad in [
        r#"{"Memory":"3"}"#,
        r#"{"Memory":1.5}"#,
        r#"{"Memory":9223372036854775808}"#,
        r#"{"Binds":"a"}"#,
        "[]",
    ] {
        assert!(serde_json::from_str::<Outer>(bad).is_err(), "{bad}");
    }
}

#[test]
fn changing_a_nil_collection_makes_it_non_nil() {
    let mut list = List::<i64>::nil();
    list.push(1);
    assert!(!list.is_nil());
    let mut map = Map::<i64>::nil();
    map.insert("a".into(), 1);
    assert_eq!(serde_json::to_string(&map).unwrap(), r#"{"a":1}"#);
}
