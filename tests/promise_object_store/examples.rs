//! LMCache's documented configurations for OBJ open as they are, with real credentials in the place of theirs.

use std::path::{Path, PathBuf};

use crate::crash_common::api::{Options, Store};
use crate::crash_common::helper::{Helper, Peer, Role};
use crate::place::{Place, SMALL, put, version};
use crate::s3_common::{ACCESS_KEY, BUCKET, Proxy, REGION, SECRET_KEY, Server, tls};

const STATIC: &str = include_str!("../fixtures/config/lmcache_obj.yaml");
const DYNAMIC: &str = include_str!("../fixtures/config/lmcache_obj_dynamic.yaml");
const ENDPOINTS: &str = include_str!("../fixtures/config/lmcache_obj_endpoints.yaml");

/// An example with what only its user can know, and nothing else, filled in.
fn filled(example: &str, more: &[(&str, &str)]) -> String {
    let known = [
        ("<your_access_key>", ACCESS_KEY),
        ("<your_secret_key>", SECRET_KEY),
        ("<your_bucket>", BUCKET),
        ("<your_region>", REGION),
    ];
    known.iter().chain(more).fold(example.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the example");
        text.replace(from, to)
    })
}

/// Opens what the parent names, with an environment of its own, and uses it.
pub const ROLE: Role = ("example", |peer: &mut Peer| {
    let (config, environment) = (PathBuf::from(peer.line().unwrap()), peer.line().unwrap());
    let outcome = use_store(&config, &environment);
    peer.say(&outcome);
});

fn use_store(config: &Path, environment: &str) -> String {
    // SAFETY: the helper's other thread waits for this one, and no store is open yet.
    environment.split(' ').filter_map(|pair| pair.split_once('=')).for_each(|(name, value)| unsafe {
        std::env::set_var(name, value);
    });
    let store = match Store::open_with(config, &Options::default()) {
        Ok(store) => store,
        Err(failure) => return format!("refused: {failure}"),
    };
    put(&store, "example", 1, SMALL);
    let found = version(&store, "example", SMALL);
    store.remove("example").unwrap();
    match store.close() {
        Ok(()) if found == Some(1) => "ok".to_owned(),
        other => format!("{found:?} {other:?}"),
    }
}

#[track_caller]
fn opens(place: &Place, name: &str, text: &str, environment: &str) {
    let config = place.file(name, text);
    let mut helper = Helper::start(ROLE.0);
    helper.tell(&config.display().to_string());
    helper.tell(environment);
    assert_eq!(helper.line().as_deref(), Some("ok"), "{name}");
    helper.finish();
}

/// The static example names no endpoint, so that it is AWS's; the environment says which one it is here.
#[test]
fn the_static_example_opens() {
    let place = Place::new("static_example");
    let endpoint = format!("AWS_ENDPOINT_OVERRIDE={}", Server::of_this_process().endpoint());
    opens(&place, "static.yaml", &filled(STATIC, &[]), &endpoint);
}

/// The dynamic one names an endpoint with TLS and a certificate of its own.
#[test]
fn the_dynamic_example_opens() {
    let place = Place::new("dynamic_example");
    let proxy = Proxy::over_tls();
    let bundle = tls::authority().display().to_string();
    let more =
        [("https://url-to-object-storage", proxy.endpoint()), ("path to self-signed certificate", bundle)];
    let more = more.each_ref().map(|(from, to)| (*from, to.as_str()));
    opens(&place, "dynamic.yaml", &filled(DYNAMIC, &more), "");
}

/// The one with an endpoint for each worker.
#[test]
fn the_example_with_endpoints_opens() {
    let place = Place::new("endpoints_example");
    let proxy = Proxy::new();
    let endpoint = proxy.endpoint();
    let more = [
        ("https://node-0.object-storage:9021", endpoint.as_str()),
        (
            "nixl_pool_size: 64",
            "nixl_pool_size: 64\n  nixl_store_chunk_bytes: 1048576\n  nixl_store_prefix: endpoints-example/",
        ),
    ];
    opens(
        &place,
        "endpoints.yaml",
        &format!("nixl_buffer_size: 8388608\nnixl_buffer_device: cpu\n{}", filled(ENDPOINTS, &more)),
        "",
    );
    assert!(!proxy.seen().is_empty());
}

/// Credentials, region, bucket and endpoint from the usual variables, none in the file.
#[test]
fn the_usual_environment_serves() {
    let place = Place::new("environment");
    let text = format!(
        "nixl_buffer_size: 8388608\nnixl_buffer_device: cpu\nextra_config:\n  enable_nixl_storage: true\n  \
         nixl_backend: OBJ\n  nixl_pool_size: 0\n  nixl_store_prefix: {}\n",
        place.prefix
    );
    let environment = format!(
        "AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_REGION={REGION} \
         AWS_DEFAULT_BUCKET={BUCKET} AWS_ENDPOINT_OVERRIDE={}",
        Server::of_this_process().endpoint()
    );
    opens(&place, "environment.yaml", &text, &environment);
    place.assert_no_uploads();
}
