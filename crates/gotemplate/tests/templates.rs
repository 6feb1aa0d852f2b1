//! Outputs and errors as Docker's client prints them, and the promise that nothing panics.
use knarr_gotemplate::{MissingKey, Nil, Struct, Template, Value};
use proptest::prelude::*;
use std::rc::Rc;

fn data() -> Value {
    let json = serde_json::json!({
        "Id": "01e023f53473619207163633beccc236",
        "Created": "2026-11-22T02:49:55Z",
        "State": {"Status": "running", "Running": true, "Pid": 260, "Health": null},
        "Config": {"Labels": {"x": "y", "b": "<&>"}, "Cmd": ["sleep", "1000"], "Env": ["A=1", "B=2"]},
        "Mounts": [], "Mixed": {"b": [1, "two", null], "a": {"z": 1.5}}, "Big": 1e21, "Half": 0.5
    });
    Value::from(&json)
}

fn run_as(text: &str, data: &Value, missing: MissingKey) -> String {
    match Template::parse(text).and_then(|t| t.execute(data, missing)) {
        Ok(out) => out,
        Err(error) => format!("ERROR {error}"),
    }
}
fn run(text: &str) -> String {
    run_as(text, &data(), MissingKey::NoValue)
}
fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(run(text), *expected, "{text}");
    }
}

#[test]
fn fields_and_maps_print_as_in_go() {
    check(&[
        ("plain", "plain"),
        ("{{.State.Running}} {{.State.Pid}}", "true 260"),
        ("{{.Config.Cmd}}", "[sleep 1000]"),
        ("{{.Config.Labels}}", "map[b:<&> x:y]"),
        ("{{.Mixed}}", "map[a:map[z:1.5] b:[1 two <nil>]]"),
        ("{{.Config.Labels.nope}}", "<no value>"),
        ("{{.State.Health}}", "<no value>"),
        ("{{.Nope.Deeper}}", "<no value>"),
        ("{{.Mounts}}", "[]"),
        ("{{.Big}} {{.Half}}", "1e+21 0.5"),
        ("{{index .Config.Labels \"x\"}}|{{index .Config.Labels \"q\"}}|{{index .Config.Cmd 1}}", "y||1000"),
        ("{{json .Config.Labels}}", "{\"x\":\"y\",\"b\":\"<&>\"}"),
        ("{{json .State}}", "{\"Status\":\"running\",\"Running\":true,\"Pid\":260,\"Health\":null}"),
        (
            "{{(index .Config.Env 0).Nope}}",
            "ERROR template: :1:23: executing \"\" at <(index .Config.Env 0).Nope>: can't evaluate field Nope in type string",
        ),
    ]);
}

#[test]
fn control_structures() {
    check(&[
        ("{{if .State.Running}}yes{{else}}no{{end}}", "yes"),
        ("{{if .Nope}}a{{else if .State.Running}}b{{else}}c{{end}}", "b"),
        ("{{range .Config.Env}}[{{.}}]{{end}}", "[A=1][B=2]"),
        ("{{range $i, $e := .Config.Env}}{{$i}}:{{$e}} {{end}}", "0:A=1 1:B=2 "),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "b=<&>;x=y;"),
        ("{{range .Mounts}}x{{else}}none{{end}}", "none"),
        ("{{range $i := .Config.Cmd}}{{$i}},{{end}}", "sleep,1000,"),
        ("{{range .Config.Env}}{{if eq . \"B=2\"}}{{break}}{{end}}{{.}}{{end}}", "A=1"),
        ("{{range .Config.Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{end}}", "B=2"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Nope}}x{{else}}y{{end}}", "260y"),
        ("{{with $x := .State}}{{$x.Pid}}{{end}}", "260"),
        ("{{$x := 1}}{{$x = 2}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x = 3}}{{end}}{{$x}}", "3"),
        ("{{range .Config.Env}}{{$.State.Pid}}{{end}}", "260260"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("a {{- 1 -}} b {{- /* note */ -}} c{{/* x */}}d", "a1bcd"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .State.Pid}}", "<260>"),
        ("{{block \"b\" .State}}{{.Pid}}{{end}}", "260"),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("{{print 1 2 \"a\" \"b\" 3}}", "1 2ab3"),
        ("{{println 1 \"a\"}}", "1 a\n"),
        ("{{slice .Id 0 4}}{{slice .Config.Cmd 1}}", "01e0[1000]"),
        ("{{len .Mounts}} {{len .Id}} {{len .Config.Labels}}", "0 32 2"),
        ("{{not 1}} {{and 1 0 2}} {{or 0 \"\" \"z\"}}", "false 0 z"),
        (
            "{{eq .State.Status \"running\"}} {{eq 1 2 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 2 2}}",
            "true true true true true false true",
        ),
        (
            "{{join (split \"a,b\" \",\") \"+\"}} {{title \"ab cd\"}} {{upper \"a\"}} {{lower \"A\"}}",
            "a+b Ab Cd A a",
        ),
        (
            "[{{pad \"x\" 1 2}}] [{{pad \"\" 1 2}}] {{truncate \"abcdef\" 3}} {{truncate \"ab\" 3}}",
            "[ x  ] [] abc ab",
        ),
        (
            "{{\"a<b\" | json}} {{html \"<a&'>\"}} {{js \"it's<\"}} {{urlquery \"a b&c\"}}",
            "\"a<b\" &lt;a&amp;&#39;&gt; it\\'s\\u003C a+b%26c",
        ),
        ("{{.State.Pid | printf \"%05d\"}}", "00260"),
        (
            r#"{{printf "%-10s|%5.2f|%x|%q|%v|%t|%05d|%+d|%z" "ab" 3.14159 255 "q\"" 1.0 true 42 3 1}}"#,
            r#"ab        | 3.14|ff|"q\""|1|true|00042|+3|%!z(int=1)"#,
        ),
        (
            r#"{{printf "%d" "x"}} {{printf "%s"}} {{printf "a" 1}}"#,
            "%!d(string=x) %!s(MISSING) a%!(EXTRA int=1)",
        ),
        (
            r#"{{printf "%s" .State.Pid}} {{printf "%v %d" .Config.Cmd .Config.Cmd}}"#,
            "%!s(int=260) [sleep 1000] [%!d(string=sleep) %!d(string=1000)]",
        ),
        (
            r#"{{printf "%*d|%-5s|%5s|%.2s|%%|%T|%e|%g|%[1]v" 5 42 "ab" "ab" "abc" 1 1500.0 0.00001}}"#,
            "   42|ab   |   ab|ab|%|int|1.500000e+03|1e-05|5",
        ),
        (r#"{{printf "%"}}"#, "%!(NOVERB)"),
    ]);
}

#[test]
fn errors_have_gos_texts() {
    check(&[
        ("{{range", "ERROR template: :1: unclosed action"),
        ("{{.Foo", "ERROR template: :1: unclosed action"),
        ("{{foo}}", "ERROR template: :1: function \"foo\" not defined"),
        ("{{end}}", "ERROR template: :1: unexpected {{end}}"),
        ("{{if}}", "ERROR template: :1: missing value for if"),
        ("{{if .A}}", "ERROR template: :1: unexpected EOF"),
        ("{{$x}}", "ERROR template: :1: undefined variable \"$x\""),
        ("a\n{{.A}\n}}", "ERROR template: :2: unexpected \"}\" in operand"),
        ("{{\"a}}", "ERROR template: :1: unterminated quoted string"),
        ("{{len 3}}", "ERROR template: :1:2: executing \"\" at <len 3>: error calling len: len of type int"),
        (
            "{{eq 1 \"a\"}}",
            "ERROR template: :1:2: executing \"\" at <eq 1 \"a\">: error calling eq: incompatible types for comparison",
        ),
        (
            "{{index .Config.Cmd 9}}",
            "ERROR template: :1:2: executing \"\" at <index .Config.Cmd 9>: error calling index: index out of range: 9",
        ),
        (
            "{{index .Mounts 0}}",
            "ERROR template: :1:2: executing \"\" at <index .Mounts 0>: error calling index: reflect: slice index out of range",
        ),
        (
            "{{index .Config.Cmd \"a\"}}",
            "ERROR template: :1:2: executing \"\" at <index .Config.Cmd \"a\">: error calling index: cannot index slice/array with type string",
        ),
        ("{{upper 3}}", "ERROR template: :1:8: executing \"\" at <3>: expected string; found 3"),
        (
            "{{upper .State.Pid}}",
            "ERROR template: :1:14: executing \"\" at <.State.Pid>: wrong type for value; expected string; got int",
        ),
        (
            "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}",
            "ERROR template: :1:25: executing \"x\" at <{{template \"x\"}}>: exceeded maximum template depth (100)",
        ),
    ]);
    for (text, expected) in [
        (
            "{{.State.Foo}}",
            "template: :1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\"",
        ),
        ("{{json .Nope}}", "template: :1:7: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        (
            "{{.Config.Labels.x.y}}",
            "template: :1:9: executing \"\" at <.Config.Labels.x.y>: can't evaluate field y in type interface {}",
        ),
    ] {
        let error = Template::parse(text).unwrap().execute(&data(), MissingKey::Error).unwrap_err();
        let shown = error.to_string();
        assert_eq!(shown, expected, "{text}");
    }
}

#[test]
fn structures_methods_and_nils() {
    let label: knarr_gotemplate::Function = Rc::new(|args| match args {
        [Value::Str(name)] => Ok(Value::str(format!("label {name}"))),
        _ => Err("wrong number of args for Label: want 1 got 0".into()),
    });
    let row = Value::object(
        "*formatter.ContainerContext",
        vec![
            ("ID".into(), "abc".into()),
            ("Label".into(), Value::Func(label)),
            ("Net".into(), Value::Nil(Nil::Map)),
        ],
    );
    let run = |text: &str| run_as(text, &row, MissingKey::NoValue);
    assert_eq!(run("{{.ID}} {{.Label \"x\"}} {{\"y\" | .Label}} {{.Net}}"), "abc label x label y map[]");
    assert_eq!(run("{{json .}}"), "{\"ID\":\"abc\",\"Net\":null}");
    assert_eq!(
        run("{{.Foo}}"),
        "ERROR template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
    );
    assert_eq!(
        run("{{.ID 1}}"),
        "ERROR template: :1:2: executing \"\" at <.ID>: ID is not a method but has arguments"
    );
    let folded = Value::Struct(Rc::new(Struct {
        type_name: "container.State",
        fields: vec![
            ("Id".into(), "x".into()),
            ("N".into(), Value::Nil(Nil::Pointer)),
            ("L".into(), Value::Nil(Nil::Slice)),
        ],
        fold_case: true,
        html_json: false,
        omitted: vec![("Gone".into(), Value::Nil(Nil::Map))],
    }));
    assert_eq!(run_as("{{.ID}} {{.}} {{.Gone}}", &folded, MissingKey::NoValue), "x {x <nil> [] map[]} map[]");
}

#[test]
fn titles_of_columns_pass_through_functions() {
    let titles = Value::object("map", vec![("ID".into(), "CONTAINER ID".into())]);
    let template = Template::parse("{{lower .ID}} {{json .ID}} {{truncate .ID 3}} {{upper \"x\"}}").unwrap();
    assert_eq!(template.execute_header(&titles).unwrap(), "CONTAINER ID CONTAINER ID CONTAINER ID x");
    assert!(template.mentions_field("ID") && !template.mentions_field("Size"));
}

#[test]
fn output_and_steps_are_bounded() {
    let deep = format!("{}1{}", "{{if 1}}".repeat(500), "{{end}}".repeat(500));
    assert!(run(&deep).starts_with("ERROR"));
    let parens = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(run(&parens).starts_with("ERROR"));
    assert!(run("{{range 100000}}{{range 100000}}{{end}}{{end}}").starts_with("ERROR"));
    assert!(run("{{pad \"x\" 999999999999 1}}").starts_with("ERROR"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_text_is_a_template_or_an_error(text in "\\PC{0,60}") {
        let _ = run(&text);
    }
    #[test]
    fn any_action_is_fine_or_an_error(parts in prop::collection::vec(prop::sample::select(vec![
        "{{", "}}", "{{-", " -}}", ".", ".State", ".Config.Cmd", "$", "$x", ":=", "=", "|", "(", ")", " ", "if", "range", "with",
        "end", "else", "define", "template", "block", "nil", "true", "1", "-3", "0x1f", "1.5e3", "'a'", "\"s\"", "`r`", ",", "printf",
        "\"%*.*d%[9]q\"", "index", "slice", "len", "json", "join", "eq", "lt", "and", "pad", "truncate", "title", "break", "continue", "é", "\n", "/*", "*/",
    ]), 0..24)) {
        let _ = run(&parts.concat());
        let _ = run(&format!("{{{{{}}}}}", parts.join(" ")));
    }
    #[test]
    fn printf_takes_anything(format in "[%a-z0-9*.#+ \\[\\]-]{0,12}", n in any::<i64>(), f in any::<f64>(), s in "\\PC{0,8}") {
        let data = Value::from(&serde_json::json!({"F": format, "N": n, "X": f, "S": s}));
        let _ = run_as("{{printf .F .N .X .S .}}", &data, MissingKey::NoValue);
    }
}
