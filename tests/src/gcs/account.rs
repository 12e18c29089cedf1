//! The one service account that may ask: its key file, as Google's console would give it out, and the tokens signed with it.
//!
//! A token is a JSON Web Token that the account signed itself (RS256), which Google's APIs take in place of one that was
//! asked for: `header.claims.signature`, each in URL-safe base 64.

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const EMAIL: &str = "reddb-test@project.invalid";
const KEY_ID: &str = "reddb-test-key";
/// What a token must be good for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// A token may not be good for longer.
const LIFE_S_MAX: u64 = 3600;

/// A service account with a key of its own, made anew each time.
#[derive(Debug)]
pub struct Account {
    key: KeyPair,
}

impl Account {
    /// An account.
    ///
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn new() -> Self {
        Self { key: KeyPair::generate(KeySize::Rsa2048).expect("a key can be made") }
    }

    /// The key file.
    ///
    /// # Panics
    /// Where the key cannot be encoded.
    #[must_use]
    pub fn file(&self) -> Value {
        let der: Pkcs8V1Der<'_> = self.key.as_der().expect("a key can be encoded");
        let text = BASE64_STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        json!({ "type": "service_account", "client_email": EMAIL, "private_key_id": KEY_ID, "private_key": pem })
    }

    /// Whether this is a token of this account, good at `now`, the time since 1970.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, token: &str, now: Duration) -> Result<(), String> {
        let (signed, signature) = token.rsplit_once('.').ok_or("a token has three parts")?;
        let (header, claims) = signed.split_once('.').ok_or("a token has three parts")?;
        let (header, claims) = (part(header)?, part(claims)?);
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|error| format!("the signature: {error}"))?;
        if header["alg"] != "RS256" || header["kid"] != KEY_ID {
            return Err("another key".to_owned());
        }
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| "the signature is not right")?;
        let time = |name: &str| claims[name].as_u64().ok_or_else(|| format!("no {name}"));
        let (issued, expires) = (time("iat")?, time("exp")?);
        if !(issued..expires).contains(&now.as_secs()) || expires - issued > LIFE_S_MAX {
            return Err("not the time for this token".to_owned());
        }
        if claims["iss"] != EMAIL || claims["sub"] != EMAIL || claims["scope"] != SCOPE {
            return Err("not this account, or not what it may do".to_owned());
        }
        Ok(())
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

fn part(text: &str) -> Result<Value, String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("not base 64: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::RSA_PKCS1_SHA256;

    use super::*;

    const NOW_S: u64 = 1_700_000_000;

    fn token(account: &Account, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({ "alg": "RS256", "typ": "JWT", "kid": KEY_ID });
        let mut claims = json!({ "iss": EMAIL, "sub": EMAIL, "scope": SCOPE, "iat": NOW_S, "exp": NOW_S + LIFE_S_MAX });
        change(&mut header, &mut claims);
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let mut signature = vec![0; account.key.public_modulus_len()];
        account.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn only_a_token_of_this_account_is_good_and_only_in_its_time() {
        let account = Account::new();
        let check = |token: &str, now_s| account.check(token, Duration::from_secs(now_s)).map_err(|_| ());
        let good = token(&account, |_, _| ());
        assert_eq!(check(&good, NOW_S), Ok(()));
        assert_eq!(check(&good, NOW_S - 1), Err(()));
        assert_eq!(check(&good, NOW_S + LIFE_S_MAX), Err(()));
        assert_eq!(check(&token(&Account::new(), |_, _| ()), NOW_S), Err(()));
        assert_eq!(check(&token(&account, |header, _| header["alg"] = "none".into()), NOW_S), Err(()));
        assert_eq!(check(&token(&account, |_, claims| claims["iss"] = "other".into()), NOW_S), Err(()));
        assert_eq!(check(&token(&account, |_, claims| claims["scope"] = "other".into()), NOW_S), Err(()));
        assert_eq!(check(&token(&account, |_, claims| claims["exp"] = (NOW_S * 2).into()), NOW_S), Err(()));
        let (signed, _) = good.rsplit_once('.').unwrap();
        for bad in ["", "a.b.c", signed, &format!("{signed}.")] {
            assert_eq!(check(bad, NOW_S), Err(()), "{bad}");
        }
    }
}
