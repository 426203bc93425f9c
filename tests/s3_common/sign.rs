//! AWS Signature Version 4, from its description: "Create a signed AWS API request" in the IAM user guide.
//! Payloads go unsigned (`UNSIGNED-PAYLOAD`): what is tested is not whether a body arrives.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::{digest, hmac};

use super::REGION;
use super::http::{Head, decode, encode};

/// Signs a request anew: with the date, payload and headers that it has; what it lacks of them is added. `signed`
/// names the headers that are covered; `host` and all `x-amz-*` are in any case.
pub fn sign(head: &mut Head, access_key: &str, secret_key: &str) {
    if head.get("x-amz-date").is_none() {
        head.set("x-amz-date", now());
    }
    if head.get("x-amz-content-sha256").is_none() {
        head.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    }
    head.remove("authorization");
    let time = head.get("x-amz-date").unwrap().to_owned();
    let scope = format!("{}/{REGION}/s3/aws4_request", &time[..8]);
    let mut covered: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| name == "host" || name.starts_with("x-amz-") || name.starts_with("if-"))
        .collect();
    covered.sort();
    let names = covered.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines: String = covered.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let (method, target) = head.request();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let payload = head.get("x-amz-content-sha256").unwrap();
    let request = format!("{method}\n{path}\n{}\n{lines}\n{names}\n{payload}", canonical_query(query));
    let hash = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let mut key = format!("AWS4{secret_key}").into_bytes();
    for part in [&time[..8], REGION, "s3", "aws4_request"] {
        key = mac(&key, part.as_bytes());
    }
    let signature = hex(&mac(&key, text.as_bytes()));
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    head.set("Authorization", value);
}

/// Parameters in order, each with its `=`.
fn canonical_query(query: &str) -> String {
    let mut parts: Vec<(String, String)> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (encode(&decode(name), false), encode(&decode(value), false)))
        .collect();
    parts.sort();
    parts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20260131T235959Z`.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in eras of 400 years ("chrono-Compatible Low-Level Date Algorithms", H. Hinnant).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
