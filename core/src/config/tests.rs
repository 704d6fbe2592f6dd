//! What a configuration is refused for, and what is said then.

use super::*;

const GOOD: &str = r#"
    version = 1
    mode = "development"
    listen = { api = "127.0.0.1:8443", ops = "127.0.0.1:9443" }
    tls = { certificate = "pki/server.pem", key = "pki/server-key.pem", client_ca = "pki/ca.pem", crl = ["pki/ca.crl"] }
    store = { directory = "store" }
    log = { origin = "localhost/chancery", directory = "log" }
    [hsm]
    module = "/usr/lib/softhsm/libsofthsm2.so"
    token = "chancery"
    pin = { file = "hsm/pin" }
"#;

#[test]
fn paths_follow_the_file() {
    let config = Config::parse(GOOD, Path::new("/srv/c")).unwrap();
    assert_eq!(config.tls.key, Path::new("/srv/c/pki/server-key.pem"));
    assert_eq!(config.tls.crl, [Path::new("/srv/c/pki/ca.crl")]);
    assert_eq!(config.hsm.pin, SecretSource::File("/srv/c/hsm/pin".into()));
}

#[test]
fn lists_of_no_authority_are_refused() {
    let without = GOOD.replace(", client_ca = \"pki/ca.pem\"", "");
    let error = Config::parse(&without, Path::new("/")).unwrap_err();
    assert!(error.to_string().starts_with("`tls.crl`"), "{error}");
    let neither = without.replace(", crl = [\"pki/ca.crl\"]", "");
    assert_eq!(Config::parse(&neither, Path::new("/")).unwrap().tls.client_ca, None);
}

#[test]
fn production_refuses_what_development_allows() {
    let error = Config::parse(&GOOD.replace("development", "production"), Path::new("/")).unwrap_err();
    let broken = "`hsm.pin` must be a `credential` or `fd` in production; `policy.keys` must name who signs bundles in production";
    assert_eq!(error.to_string(), broken);
    let open = GOOD
        .replace("development", "production")
        .replace("{ file = \"hsm/pin\" }", "{ fd = 3 }")
        .replace("127.0.0.1:9443", "0.0.0.0:9443");
    assert!(Config::parse(&open, Path::new("/")).is_err());
    let alone = open.replace("0.0.0.0", "127.0.0.1");
    let error = Config::parse(&alone, Path::new("/")).unwrap_err();
    assert_eq!(error.to_string(), "`policy.keys` must name who signs bundles in production");
    let signed = format!("{alone}\n[policy]\nkeys = [\"ann\"]\nsignatures = 1\n");
    assert!(Config::parse(&signed, Path::new("/")).is_ok());
}

#[test]
fn signatures_are_as_many_as_there_can_be() {
    for bad in ["signatures = 1", "keys = [\"ann\"]", "keys = [\"ann\"]\nsignatures = 2"] {
        let error = Config::parse(&format!("{GOOD}\n[policy]\n{bad}\n"), Path::new("/")).unwrap_err();
        assert!(error.to_string().starts_with("`policy.signatures`"), "{bad}: {error}");
    }
}

#[test]
fn a_quorum_that_can_never_be_met_is_refused() {
    let with = |log: &str| {
        let inline = "log = { origin = \"localhost/chancery\", directory = \"log\" }";
        let text = GOOD.replace(inline, "") + "[log]\norigin = \"o\"\ndirectory = \"log\"\n" + log;
        Config::parse(&text, Path::new("/"))
    };
    let one = "[[log.witness]]\nurl = \"http://127.0.0.1:1\"\nkey = \"k\"\n";
    assert_eq!(with(&format!("cosignatures = 1\n{one}")).unwrap().log.cosignatures, 1);
    let error = with(&format!("cosignatures = 2\n{one}")).unwrap_err();
    assert_eq!(error.to_string(), "`log.cosignatures` must not be more than there are witnesses");
    assert!(with(&one.replace("http:", "ftp:")).is_err());
}

#[test]
fn an_authority_is_asked_within_bounds_and_without_a_password() {
    let with = |authority: &str| {
        let log = format!("directory = \"log\", timestamp = [{{ {authority} }}] }}");
        Config::parse(&GOOD.replace("directory = \"log\" }", &log), Path::new("/srv/c"))
    };
    let good = "url = \"http://127.0.0.1:1\", ca = \"tsa.pem\"";
    let config = with(good).unwrap();
    assert_eq!(
        (&*config.log.timestamp[0].ca, config.log.timestamp[0].every_s),
        (Path::new("/srv/c/tsa.pem"), 3_600)
    );
    assert!(with(&format!("{good}, every_s = 604800")).is_ok());
    for bad in [
        format!("{good}, every_s = 0"),
        format!("{good}, every_s = 604801"),
        good.replace("http:", "ftp:"),
        good.replace("127", "a:b@127"),
        [good; 5].join(" }, { "),
    ] {
        let error = with(&bad).unwrap_err().to_string();
        assert!(error.starts_with("`log.timestamp"), "{bad}: {error}");
    }
}

#[test]
fn a_webhook_is_named_once_and_in_production_told_over_tls() {
    let hook = |name: &str, url: &str, secret: &str| {
        format!("\n[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = {secret}\n")
    };
    let file = "{ file = \"hook\" }";
    let good = hook("ledger", "http://127.0.0.1:1", file);
    let config = Config::parse(&format!("{GOOD}{good}"), Path::new("/srv/c")).unwrap();
    assert_eq!(config.webhook[0].secret, SecretSource::File("/srv/c/hook".into()));
    for (hooks, key) in [
        (format!("{good}{good}"), "webhook.name"),
        (hook("a b", "http://127.0.0.1:1", file), "webhook.name"),
        (hook("ledger", "ftp://127.0.0.1:1", file), "webhook.url"),
        (hook("ledger", "https://a:b@127.0.0.1:1", file), "webhook.url"),
    ] {
        let error = Config::parse(&format!("{GOOD}{hooks}"), Path::new("/")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{key}`")), "{hooks}: {error}");
    }
    let production =
        GOOD.replace("development", "production").replace("{ file = \"hsm/pin\" }", "{ fd = 3 }")
            + "[policy]\nkeys = [\"ann\"]\nsignatures = 1\n";
    for (hooks, key) in
        [(good, "webhook.url"), (hook("ledger", "https://127.0.0.1:1", file), "webhook.secret")]
    {
        let error = Config::parse(&format!("{production}{hooks}"), Path::new("/")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{key}`")), "{hooks}: {error}");
    }
    let sound = hook("ledger", "https://127.0.0.1:1", "{ fd = 4 }");
    assert!(Config::parse(&format!("{production}{sound}"), Path::new("/")).is_ok());
}

#[test]
fn unknown_keys_and_versions_are_refused() {
    assert!(Config::parse(&GOOD.replace("token =", "tokn ="), Path::new("/")).is_err());
    assert!(Config::parse(&GOOD.replace("version = 1", "version = 2"), Path::new("/")).is_err());
}

/// Would catch an operator who mends one value, and is then told of the next.
#[test]
fn everything_that_is_broken_is_told() {
    let bad = GOOD.replace("version = 1", "version = 2").replace("localhost/", "a+b/")
        + "sessions = 0\n[rate.wallet]\nper_second = 0\nburst = 1\n";
    let error = Config::parse(&bad, Path::new("/")).unwrap_err().to_string();
    for key in ["version", "rate.wallet", "hsm.sessions", "log.origin"] {
        assert!(error.contains(&format!("`{key}`")), "{key}: {error}");
    }
    let (config, broken) = Config::examine(&bad, Path::new("/srv/c")).unwrap();
    assert_eq!((broken.iter().count(), &*config.tls.key), (4, Path::new("/srv/c/pki/server-key.pem")));
}
