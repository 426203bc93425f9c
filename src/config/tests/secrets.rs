//! Credentials appear in no message, whatever is wrong with the file that holds them.

use super::{load_with, posix, with_params};
use crate::config::{Config, backend_params};
use crate::error::Error;

const SECRET: &str = "hunter2hunter2";

fn everything_said(result: &Result<Config, Error>) -> String {
    match result {
        Ok(config) => format!("{config:?} {:?} {:?} {}", config.notices, config.warning, settings(config)),
        Err(error) => format!("{error} {error:?} {}", error.message()),
    }
}

/// What the log says of the settings.
fn settings(config: &Config) -> String {
    config.effective.iter().map(|setting| format!("{setting}\n")).collect()
}

#[track_caller]
fn assert_silent(text: &str) {
    let result = load_with(text, &[]);
    assert!(!everything_said(&result).contains("hunter2"), "{}", everything_said(&result));
}

/// A configuration that works is printed by engines for debugging.
#[test]
fn debug_of_a_configuration_shows_no_credential() {
    let text = with_params(
        "OBJ",
        &format!("bucket: b\naccess_key: {SECRET}\nsecret_key: {SECRET}\nsession_token: {SECRET}"),
    );
    let config = load_with(&text, &[]).unwrap();
    assert_eq!(config.backend_params.get("secret_key"), Some(SECRET));
    let shown = format!("{config:?}{:#?}{:?}", config, config.clone().backend_params);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("secret_key"), "names may be shown");
}

/// The log lists every setting that is in effect; of a credential only that there is one. Each parameter that may hold
/// one is tried, and an endpoint that somebody else's code let through with a password in it.
#[test]
fn the_list_of_settings_shows_no_credential() {
    let mut config = load_with(
        &with_params(
            "OBJ",
            &format!(
                "bucket: b\naccess_key: {SECRET}\nsecret_key: {SECRET}\nsession_token: {SECRET}\nregion: here"
            ),
        ),
        &[],
    )
    .unwrap();
    let shown = settings(&config);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("bucket: \"b\", region: \"here\", secret_key: not shown"), "{shown}");
    for name in ["session_token", "a_new_token", "anything"] {
        config.backend_params.0.insert(name.to_owned(), SECRET.to_owned());
    }
    config.backend_params.0.insert("endpoint_override".to_owned(), format!("http://me:{SECRET}@host"));
    let shown = backend_params::shown(config.backend, &config.backend_params);
    assert!(!shown.contains("hunter2") && shown.contains("anything: not shown"), "{shown}");
}

/// A refusal repeats the value that is wrong; where that may be a credential, it must not.
#[test]
fn refusals_show_no_credential() {
    for params in [
        format!("bucket: b\naccess_key: {SECRET}"),
        format!("bucket: b\naccess_key: [{SECRET}]"),
        format!("bucket: b\nsecret_key: \"{SECRET}\\nx\"\naccess_key: a"),
        format!("acess_key: {SECRET}"),
        format!("secretkey: {SECRET}"),
        format!("passwort: {SECRET}"),
        format!("nixl_backend: {SECRET}"),
        format!("secret_key: {SECRET}\nsecret_key: {SECRET}"),
        format!("bucket: b\nendpoint_override: http://me:{SECRET}@host"),
        format!("- access_key: {SECRET}"),
    ] {
        let text = with_params("OBJ", &params);
        assert!(load_with(&text, &[]).is_err(), "{params}");
        assert_silent(&text);
    }
    for extra in [
        format!("nixl_backend_params: \"access_key={SECRET}\""),
        format!("nixl_secret_key: {SECRET}"),
        format!("nixl_backend_parms: \"secret_key={SECRET}\""),
        format!("nixl_endpoint_list: [\"http://me:{SECRET}@host\"]"),
        format!("nixl_path: \"http://me:{SECRET}@host\""),
    ] {
        assert!(load_with(&posix(&extra), &[]).is_err(), "{extra}");
        assert_silent(&posix(&extra));
    }
    assert_silent(&format!("extra_config: \"secret {SECRET}\"\n"));
    assert_silent(&format!("nixl_backend_params: \"{SECRET}\"\n{}", posix("")));
}

/// A YAML parser likes to quote the place where it stumbled, which may be the credential itself.
#[test]
fn syntax_errors_show_no_credential() {
    for broken in [
        format!("secret_key: \"{SECRET}"),
        format!("secret_key: '{SECRET}"),
        format!("secret_key: *{SECRET}"),
        format!("secret_key: @{SECRET}"),
        format!("secret_key: !{SECRET} x"),
        format!("secret_key: !{SECRET}!x y"),
        format!("secret_key: %{SECRET}"),
        format!("secret_key: {SECRET}: {SECRET}"),
        format!("secret_key: [{SECRET}"),
        format!("secret_key: {{{SECRET}"),
        format!("secret_key: \"{SECRET}\\q\""),
        format!("secret_key: \"\\u{SECRET}\""),
        format!("secret_key: |{SECRET}\n  x"),
        format!("? [{SECRET}]\n: x"),
        format!("secret_key: x\n{SECRET}"),
        format!("\"{SECRET}\" x"),
        format!("&{SECRET} *{SECRET}"),
        format!("<<: {SECRET}"),
        format!("secret_key: \u{1}{SECRET}"),
        format!("secret_key: x\n--- {SECRET}"),
        format!("%{SECRET} x"),
    ] {
        for text in [with_params("OBJ", &broken), format!("{broken}\n")] {
            assert_silent(&text);
        }
        assert!(load_with(&format!("{broken}\n"), &[]).is_err(), "{broken}");
    }
}

/// The same in the variable that holds the whole mapping.
#[test]
fn a_broken_extra_config_variable_is_not_repeated() {
    for value in [
        format!("{{\"secret_key\": \"{SECRET}\""),
        format!("{{'secret_key': '{SECRET}'}}"),
        format!("\"{SECRET}\""),
        SECRET.to_owned(),
        format!(
            "{{\"nixl_backend_params\": \"{SECRET}\", \"enable_nixl_storage\": true, \"nixl_backend\": \"OBJ\", \"nixl_pool_size\": 1}}"
        ),
    ] {
        let result = load_with(&posix(""), &[("LMCACHE_EXTRA_CONFIG", &value)]);
        assert!(result.is_err(), "{value}");
        assert!(!everything_said(&result).contains("hunter2"), "{}", everything_said(&result));
    }
}
