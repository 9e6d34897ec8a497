//! Environment providers: what they print is what the runner reads.

use crate::{in_each_world, keys, world::World};

in_each_world!(
    providers_give_their_values_byte_for_byte with ["git"],
    sops_provides_what_it_decrypts with ["sops", "age"],
    a_provider_that_misses_something_fails_its_job_and_says_what with [],
);

fn providers_give_their_values_byte_for_byte(world: &World) {
    let project = world.project("project", &[("settings.env", "RELATIVE=of-the-tree\n")]);
    let file = world.secret(
        "secrets.env",
        "# comment\n\n  export PLAIN=a \"b\" 'c' $d `e` \\f # g   \r\nSINGLE='it has $HOME \\n \"x\"'\nDOUBLE=\"a\\nb \\\"c\\\" \\$d \\\\\" \nEMPTY=\nBLANKS='  x  '\n",
    );
    // Nix' own text has the same nasty characters, and a quote.
    let jobs = format!(
        r#"{{
            all = {{
              credentials.env = "{file}";
              outputs.all = "out/";
              envFrom = [
                (envProviders.static {{ STATIC = "it's a \"b\" \$c `d` \\e\nsecond line-of-static\n"; NUMBER = 30000; TRUTH = false; NOTHING = ""; }})
                (envProviders.file {{ path = "$CREDENTIALS_DIRECTORY/env"; required = true; }})
                (envProviders.file {{ path = "settings.env"; }})
                (envProviders.command {{ name = "COMMAND"; bash = "printf '%s\n' \"it's from git: $(git --version | cut -d ' ' -f 1) \\\\ \\$x\" \"line of-command\""; deps = [ pkgs.git ]; }})
                (envProviders.command {{ name = "SEES"; bash = "printf %s \"$COMMAND\""; }})
                (envProviders.required [ "STATIC" "PLAIN" "COMMAND" "OWN" ])
              ];
              env = {{ OWN = "own"; SHELLOPTS = "xtrace"; }};
              steps = [ {{ bash = ''
                mkdir out
                for name in STATIC NUMBER TRUTH NOTHING PLAIN SINGLE DOUBLE EMPTY BLANKS RELATIVE COMMAND SEES; do
                  printf %s "''${{!name}}" > "out/$name"
                  printf '%s\n' "''${{!name}}"
                done
              ''; }} ];
            }};
        }}"#,
        file = file.display()
    );
    let run = world.run(&project, &jobs, &[]).exits(0);
    let kept = |name: &str| {
        String::from_utf8(world.artifact(&run, "all", "all", &format!("out/{name}")))
            .expect("it was text")
    };
    assert_eq!(
        kept("STATIC"),
        "it's a \"b\" $c `d` \\e\nsecond line-of-static\n"
    );
    assert_eq!(
        [kept("NUMBER"), kept("TRUTH"), kept("NOTHING")],
        ["30000", "false", ""]
    );
    assert_eq!(kept("PLAIN"), "a \"b\" 'c' $d `e` \\f # g");
    assert_eq!(kept("SINGLE"), "it has $HOME \\n \"x\"");
    assert_eq!(kept("DOUBLE"), "a\nb \"c\" $d \\");
    assert_eq!(
        [kept("EMPTY"), kept("BLANKS"), kept("RELATIVE")],
        ["", "  x  ", "of-the-tree"]
    );
    assert_eq!(kept("COMMAND"), "it's from git: git \\ $x\nline of-command");
    assert_eq!(kept("SEES"), kept("COMMAND"));
    world.nothing_says(&run, &["it has $HOME", "line of-command"]);
}

fn sops_provides_what_it_decrypts(world: &World) {
    let (key, public) = keys::key(world, "age.key");
    let file = keys::sops(
        world,
        &public,
        "secrets.yaml",
        "yaml",
        "KEY: \"it's $x of-sops\"\nMULTI: \"one of-sops\\ntwo of-sops\\n\"\n",
    );
    let project = world.project("project", &[]);
    let jobs = format!(
        r#"{{
            good = {{
              credentials.key = "{key}";
              envFrom = [ (envProviders.sops {{ file = {file}; identity = "$CREDENTIALS_DIRECTORY/key"; }}) (envProviders.sops {{ file = "nowhere.yaml"; required = false; }}) ];
              outputs.good = "out";
              steps = [ {{ bash = "printf '%s|%s' \"$KEY\" \"$MULTI\" > out; cat out"; }} ];
            }};
            bad = {{ envFrom = [ (envProviders.sops {{ file = "nowhere.yaml"; }}) ]; steps = [ {{ bash = "echo ran"; }} ]; }};
            keyless = {{ envFrom = [ (envProviders.sops {{ file = {file}; }}) ]; steps = [ {{ bash = "echo ran"; }} ]; }};
        }}"#,
        file = file.display(),
        key = key.display()
    );
    let run = world.run(&project, &jobs, &[]).exits(1);
    let kept = String::from_utf8(world.artifact(&run, "good", "good", "out")).expect("it was text");
    assert_eq!(kept, "it's $x of-sops|one of-sops\ntwo of-sops\n");
    assert!(
        run.lines("good")
            .contains(&"gives nothing: there is no file nowhere.yaml"),
        "{run}"
    );
    assert_eq!(
        run.lines("bad"),
        ["error: there is no file nowhere.yaml"],
        "{run}"
    );
    assert_eq!(
        [
            run.verdict("good"),
            run.verdict("bad"),
            run.verdict("keyless")
        ],
        ["success/success", "failure/failure", "failure/failure"],
        "{run}"
    );
    world.nothing_says(&run, &["of-sops"]);
}

fn a_provider_that_misses_something_fails_its_job_and_says_what(world: &World) {
    let project = world.project(
        "project",
        &[
            ("bad.env", "A=1\nhunter-of-line\n"),
            ("quote.env", "A='hunter-of-quote' and more\n"),
        ],
    );
    let job = |name: &str, provider: &str| {
        format!(
            "{name} = {{ env.A = \"here\"; envFrom = [ ({provider}) ]; steps = [ {{ bash = \"echo ran\"; }} ]; }};"
        )
    };
    let jobs = [
        job("required", "envProviders.required [ \"A\" \"B\" \"C\" ]"),
        job(
            "file",
            "envProviders.file { path = \"nowhere.env\"; required = true; }",
        ),
        job("optional", "envProviders.file { path = \"nowhere.env\"; }"),
        job("line", "envProviders.file { path = \"bad.env\"; }"),
        job("quote", "envProviders.file { path = \"quote.env\"; }"),
        job(
            "command",
            "envProviders.command { name = \"X\"; bash = \"echo half; echo sorry >&2; exit 3\"; }",
        ),
    ]
    .concat();
    let run = world.run(&project, &format!("{{ {jobs} }}"), &[]).exits(1);
    let said = |job: &str| (run.verdict(job), run.lines(job).join("\n"));
    let failure = "failure/failure".to_owned();
    assert_eq!(
        said("required"),
        (failure.clone(), "error: not set: B C".to_owned()),
        "{run}"
    );
    assert_eq!(
        said("file"),
        (
            failure.clone(),
            "error: there is no file nowhere.env".to_owned()
        ),
        "{run}"
    );
    assert_eq!(
        said("optional"),
        (
            "success/success".to_owned(),
            "gives nothing: there is no file nowhere.env\nran".to_owned()
        ),
        "{run}"
    );
    assert_eq!(
        said("line"),
        (
            failure.clone(),
            "error: bad.env: line 2: is not `NAME=value`".to_owned()
        ),
        "{run}"
    );
    assert_eq!(
        said("quote"),
        (
            failure.clone(),
            "error: quote.env: line 1: the quote is not closed, or something follows it".to_owned()
        ),
        "{run}"
    );
    assert_eq!(said("command"), (failure, "sorry".to_owned()), "{run}");
    assert!(run.reason("command").ends_with(": exit status 3"), "{run}");
    assert!(!run.to_string().contains("hunter-of"), "{run}");
}
