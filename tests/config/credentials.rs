//! What `[[credentials]]` and AUTH must hold: each kind of mistake, with its place and its help.

use crate::{one, problems, with};

#[test]
fn a_credential_source_has_its_own_keys() {
    let staff = |keys: &str| with(&format!("[[credentials]]\nname = \"staff\"\n{keys}"));
    one(
        &staff("source = \"dovecot\"\n"),
        "[[credentials]]",
        "source = \"dovecot\" needs `socket`",
        "write socket = \"/run/dovecot/auth-client\"",
    );
    one(
        &staff("source = \"dovecot\"\nsocket = \"/s\"\nurl = \"http://127.0.0.1/\"\n"),
        "\"http://127.0.0.1/\"",
        "source = \"dovecot\" has no `url`",
        "it belongs to \"http\", \"introspection\"",
    );
    one(
        &staff("source = \"http\"\nurl = \"auth.example/x\"\n"),
        "\"auth.example/x\"",
        "\"auth.example/x\" is no http or https URL",
        "write \"https://auth.example.net/smtp\"",
    );
    one(
        &staff("source = \"http\"\nurl = \"http://auth.example/x\"\n"),
        "\"http://auth.example/x\"",
        "passwords go to another machine in clear text",
        "use https://",
    );
    one(
        &staff("source = \"backend\"\npool = \"mtb\"\n"),
        "\"mtb\"",
        "there is no pool \"mtb\"",
        "did you mean \"mta\"?",
    );
    one(
        &staff("source = \"introspection\"\nurl = \"https://[::1]:8443/\"\nclient = \"us\"\n"),
        "[[credentials]]",
        "`client` and `secret` go together, and `secret` is missing",
        "",
    );
    one(
        &staff(
            "source = \"http\"\nurl = \"http://localhost/\"\nsecret = { file = \"a\", env = \"B\" }\n",
        ),
        "{ file = \"a\", env = \"B\" }",
        "a secret has either `file` or `env`, not both",
        "write { file = \"…\" } or { env = \"…\" }",
    );
    one(
        &staff(
            "source = \"http\"\nurl = \"http://localhost/\"\nsecret = { env = \"NO_SUCH_VARIABLE\" }\n",
        ),
        "{ env = \"NO_SUCH_VARIABLE\" }",
        "the environment variable NO_SUCH_VARIABLE is not set",
        "",
    );
}

#[test]
fn passwords_that_go_in_the_clear_are_spoken_of() {
    let asks = |pool: &str| {
        let more = "[[credentials]]\nname = \"staff\"\nsource = \"backend\"\npool = \"logins\"\n";
        with(&format!("[[pool]]\nname = \"logins\"\n{pool}\n{more}"))
    };
    let hint = "write tls = \"verify\" in the pool \"logins\", or \"required\"";
    one(
        &asks("backends = [\"127.0.0.1:25\", \"10.0.0.1:25\"]"),
        "\"logins\"",
        "passwords go to another machine in clear text where it offers no TLS (tls = \"opportunistic\")",
        hint,
    );
    one(
        &asks("backends = [\"mta.example:25\"]\ntls = \"none\""),
        "\"logins\"",
        "passwords go to another machine in clear text (tls = \"none\")",
        hint,
    );
    for pool in [
        "backends = [\"127.0.0.1:25\", \"[::1]:25\", \"localhost:25\"]\ntls = \"none\"",
        "backends = [\"10.0.0.1:25\"]\ntls = \"required\"",
        "backends = [\"10.0.0.1:465\"]\ntls = \"verify\"\ntls_implicit = true",
    ] {
        let found = problems(&asks(pool));
        assert!(found.is_empty(), "{pool}: {found:#?}");
    }
}

#[test]
fn auth_that_is_never_offered_is_warned_of() {
    let warned = |keys: &str| {
        let text = with(&format!(
            "[[listener]]\nname = \"in\"\nrole = \"submission\"\naddress = [\"127.0.0.1:2587\"]\ntls = \"none\"\n\
             auth = [\"plain\"]\n{keys}[[credentials]]\nname = \"staff\"\nsource = \"dovecot\"\nsocket = \"/s\"\n"
        ));
        let found = problems(&text);
        found
            .iter()
            .any(|problem| problem.to_string().contains("it is never offered"))
    };
    assert!(warned(""));
    assert!(!warned("auth_requires_tls = false\n"));
    // The proxy may say that the client came over TLS.
    assert!(!warned("proxy_protocol_from = [\"127.0.0.1/32\"]\n"));
}
