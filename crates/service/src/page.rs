//! Page tokens that are good for one caller and one list only.

use std::sync::Arc;

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;

use crate::caller::Caller;

/// Bytes of the seal: as many as nobody guesses.
const SEAL_BYTES: usize = 16;
/// No place in a list is longer.
const MAX_TOKEN_BYTES: usize = 2048;

/// Makes and reads page tokens. All processes of a service share the key.
#[derive(Clone)]
pub struct PageTokens(Arc<hmac::Key>);

/// It is none of ours, or another caller's, or another list's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not one of yours for this list: start again without one")]
pub struct NotYours;

impl PageTokens {
    /// Seals with this secret key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> PageTokens {
        PageTokens(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// The token by which `caller` goes on in `list` after `place`. `list` names the call and all by
    /// which it picks.
    #[must_use]
    pub fn write(&self, caller: &Caller, list: &[&str], place: &str) -> String {
        let seal = self.seal(caller, list, place);
        let mut token = seal.as_ref()[..SEAL_BYTES].to_vec();
        token.extend_from_slice(place.as_bytes());
        BASE64URL_NOPAD.encode(&token)
    }

    /// The place at which `caller` goes on in `list`; `None` for an empty token, which begins.
    ///
    /// # Errors
    /// The token was made for somebody else, for another list, or by nobody here.
    pub fn read(
        &self,
        caller: &Caller,
        list: &[&str],
        token: &str,
    ) -> Result<Option<String>, NotYours> {
        if token.is_empty() {
            return Ok(None);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(NotYours);
        }
        let token = BASE64URL_NOPAD.decode(token.as_bytes()).map_err(|_| NotYours)?;
        let (seal, place) = token.split_at_checked(SEAL_BYTES).ok_or(NotYours)?;
        let place = std::str::from_utf8(place).map_err(|_| NotYours)?;
        let ours = self.seal(caller, list, place);
        let same =
            aws_lc_rs::constant_time::verify_slices_are_equal(&ours.as_ref()[..SEAL_BYTES], seal);
        same.map(|()| Some(place.to_owned())).map_err(|_| NotYours)
    }

    fn seal(&self, caller: &Caller, list: &[&str], place: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        let about = [caller.id.as_str(), caller.workspace.as_str(), place];
        for part in about.iter().chain(list) {
            // With its length, so that no two lists of parts look alike.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Role;

    fn caller(id: &str, workspace: &str) -> Caller {
        Caller {
            id: id.to_owned(),
            name: String::new(),
            workspace: workspace.to_owned(),
            role: Role::ReadOnly,
            domains: Vec::new(),
            owner: String::new(),
        }
    }

    #[test]
    fn a_page_token_is_good_for_its_caller_and_its_list_only() {
        let pages = PageTokens::new(&[7; 32]);
        let alice = caller("token:a", "w");
        let list = ["ListDomains", "contains=x"];
        let token = pages.write(&alice, &list, "example.com");
        assert_eq!(pages.read(&alice, &list, &token).unwrap().as_deref(), Some("example.com"));
        assert_eq!(pages.read(&alice, &list, "").unwrap(), None);
        let longer = "x".repeat(MAX_TOKEN_BYTES + 1);
        let changed = token.replace(&token[..1], if token.starts_with('A') { "B" } else { "A" });
        let wrong: [(&str, &Caller, &[&str], &str); 7] = [
            ("another caller", &caller("token:b", "w"), &list, &token),
            ("another workspace", &caller("token:a", "v"), &list, &token),
            ("another list", &alice, &["ListTokens", "contains=x"], &token),
            ("another filter", &alice, &["ListDomains", "contains=y"], &token),
            ("changed", &alice, &list, &changed),
            ("a place alone", &alice, &list, "ZXhhbXBsZS5jb20"),
            ("too long", &alice, &list, &longer),
        ];
        for (what, caller, list, token) in wrong {
            assert_eq!(pages.read(caller, list, token), Err(NotYours), "{what}");
        }
        let others = PageTokens::new(&[8; 32]);
        assert_eq!(others.read(&alice, &list, &token), Err(NotYours), "another installation");
    }
}
