//! API keys: who may call.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};

use super::connections::Caller;
use crate::error::Error;

/// The keys that may call. Without keys everyone may call. Only hashes are stored. Clones share the keys, so replacing
/// them replaces them for the server too.
#[derive(Clone, Default)]
pub struct ApiKeys(Arc<RwLock<Arc<[Hash]>>>);

type Hash = [u8; 32];

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} API keys", self.hashes().len())
    }
}

impl ApiKeys {
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let hashes = keys.into_iter().map(|key| Sha256::digest(key).into()).collect();
        Self(Arc::new(RwLock::new(hashes)))
    }

    pub fn is_empty(&self) -> bool {
        self.hashes().is_empty()
    }

    /// From now on calls need one of the `other` keys.
    pub fn replace(&self, other: &Self) {
        let other = other.hashes();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = other;
    }

    fn hashes(&self) -> Arc<[Hash]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn check(&self, metadata: &MetadataMap) -> Result<(), Error> {
        let hashes = self.hashes();
        if hashes.is_empty() {
            return Ok(());
        }
        let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let key = header
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, key)) = key else {
            return Err(Error::Unauthenticated("send the metadata \"authorization: Bearer <API key>\""));
        };
        let hash: Hash = Sha256::digest(key.trim()).into();
        // Compare every key in full, so that the time reveals nothing.
        let known = hashes.iter().fold(subtle::Choice::from(0), |known, other| known | hash.ct_eq(other));
        if known.into() { Ok(()) } else { Err(Error::Unauthenticated("the API key is not valid")) }
    }
}

impl Interceptor for ApiKeys {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check(request.metadata())?;
        if let Some(caller) = request.extensions().get::<Arc<Caller>>() {
            caller.keep();
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(header: Option<&str>) -> bool {
        let mut request = Request::new(());
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().expect("a header"));
        }
        ApiKeys::new(["first", "second"]).call(request).is_ok()
    }

    #[test]
    fn only_a_known_key_opens() {
        assert!(call(Some("Bearer second")));
        assert!(call(Some("bearer first")));
        assert!(!call(Some("Bearer secon")));
        assert!(!call(Some("second")));
        assert!(!call(None));
    }

    #[test]
    fn replaced_keys_no_longer_open() {
        let keys = ApiKeys::new(["first"]);
        let mut serving = keys.clone();
        let call = |serving: &mut ApiKeys, key: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("a header"));
            serving.call(request).is_ok()
        };
        assert!(call(&mut serving, "first"));
        keys.replace(&ApiKeys::new(["second"]));
        assert!(!call(&mut serving, "first") && call(&mut serving, "second"));
    }

    #[test]
    fn keys_are_not_printed() {
        assert_eq!(format!("{:?}", ApiKeys::new(["secret"])), "1 API keys");
    }
}
