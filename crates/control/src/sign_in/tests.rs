use service::config::Secret;

use super::config::{GrantConfig, SignInConfig};

/// A configuration that works.
pub(super) fn config() -> SignInConfig {
    SignInConfig {
        issuer: "https://login.example.org".to_owned(),
        name: None,
        client_id: "dmarcer".to_owned(),
        client_secret: Some(Secret::new("provider's secret".to_owned())),
        scopes: vec!["email".to_owned(), "profile".to_owned()],
        roles_claim: "groups".to_owned(),
        redirects: Vec::new(),
        ca_file: None,
        grant: vec![GrantConfig {
            value: "admins".to_owned(),
            role: "platform-admin".to_owned(),
            workspace: "default".to_owned(),
            domains: Vec::new(),
        }],
    }
}

mod pending {
    use jiff::{SignedDuration, Timestamp};
    use store::Store;
    use store::sqlx::query_scalar;
    use tempfile::TempDir;

    use super::super::pending::Pending;

    const REDIRECT: &str = "http://127.0.0.1:4711/callback";

    async fn store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/control.db", folder.path().display());
        let store = Store::open(&url, "control", crate::sql::STEPS).await.unwrap();
        (folder, store)
    }

    fn now() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    async fn begin(store: &Store, now: Timestamp) -> Pending {
        let begun = Pending::new(REDIRECT.to_owned(), now);
        begun.keep(store).await.unwrap();
        begun
    }

    async fn take(store: &Store, state: &str, binding: &str, now: Timestamp) -> Option<Pending> {
        Pending::take(store, state, binding, now).await.unwrap()
    }

    async fn kept(store: &Store) -> i64 {
        query_scalar("SELECT count(*) FROM sign_ins").fetch_one(store.read()).await.unwrap()
    }

    #[tokio::test]
    async fn a_sign_in_is_taken_once_and_whole() {
        let (_folder, store) = store().await;
        let begun = begin(&store, now()).await;
        let (state, binding) = (begun.state_text(), begun.binding_text());
        let taken = take(&store, &state, &binding, now()).await.unwrap();
        assert_eq!(taken.nonce_text(), begun.nonce_text());
        assert_eq!(taken.verifier_text(), begun.verifier_text());
        assert_eq!(taken.redirect_uri, REDIRECT);
        assert_eq!(taken.begun_at, begun.begun_at);
        assert!(take(&store, &state, &binding, now()).await.is_none());
        assert_eq!(kept(&store).await, 0);
    }

    #[tokio::test]
    async fn of_many_who_take_it_at_once_one_gets_it() {
        let (_folder, store) = store().await;
        let begun = begin(&store, now()).await;
        let takers: Vec<_> = (0..8)
            .map(|_| {
                let (store, state, binding) =
                    (store.clone(), begun.state_text(), begun.binding_text());
                tokio::spawn(async move { take(&store, &state, &binding, now()).await.is_some() })
            })
            .collect();
        let mut got = 0;
        for taker in takers {
            got += usize::from(taker.await.unwrap());
        }
        assert_eq!(got, 1);
    }

    #[tokio::test]
    async fn another_ones_binding_takes_nothing_and_leaves_it_to_its_own() {
        let (_folder, store) = store().await;
        let (ours, theirs) = (begin(&store, now()).await, begin(&store, now()).await);
        let state = ours.state_text();
        for wrong in [theirs.binding_text(), String::new(), "x".repeat(43), ours.state_text()] {
            assert!(take(&store, &state, &wrong, now()).await.is_none());
        }
        for wrong in ["", "x", &"x".repeat(43), &"=".repeat(43), &"é".repeat(40)] {
            assert!(take(&store, wrong, &ours.binding_text(), now()).await.is_none());
        }
        assert!(take(&store, &state, &ours.binding_text(), now()).await.is_some());
    }

    #[tokio::test]
    async fn after_ten_minutes_it_is_too_late() {
        let (_folder, store) = store().await;
        let minutes = |minutes| now() + SignedDuration::from_mins(minutes);
        let begun = begin(&store, now()).await;
        assert_eq!(begun.expires_at, minutes(10));
        assert!(
            take(&store, &begun.state_text(), &begun.binding_text(), minutes(10)).await.is_none()
        );
        let begun = begin(&store, now()).await;
        let late = minutes(10) - SignedDuration::from_millis(1);
        assert!(take(&store, &begun.state_text(), &begun.binding_text(), late).await.is_some());
        begin(&store, now()).await;
        begin(&store, minutes(11)).await;
        assert_eq!(kept(&store).await, 1, "what is too old is swept");
    }

    #[tokio::test]
    async fn of_too_many_the_oldest_go() {
        use crate::sql::SignInRow;
        let (_folder, store) = store().await;
        let mut begun = Vec::new();
        for second in 0..4 {
            begun.push(begin(&store, now() + SignedDuration::from_secs(second)).await);
        }
        let mut write = store.write().await.unwrap();
        SignInRow::sweep(&mut write, now(), 2).await.unwrap();
        write.commit().await.unwrap();
        let mut left = Vec::new();
        for one in &begun {
            let taken = take(&store, &one.state_text(), &one.binding_text(), now()).await;
            left.push(taken.is_some());
        }
        assert_eq!(left, [false, false, true, true]);
    }

    #[tokio::test]
    async fn who_reads_the_database_can_not_end_a_sign_in() {
        let (folder, store) = store().await;
        let begun = begin(&store, now()).await;
        store.close().await;
        let mut bytes = Vec::new();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        let secrets =
            [begun.state_text(), begun.binding_text(), begun.nonce_text(), begun.verifier_text()];
        assert!(bytes.windows(REDIRECT.len()).any(|part| part == REDIRECT.as_bytes()));
        for secret in secrets {
            let raw = data_encoding::BASE64URL_NOPAD.decode(secret.as_bytes()).unwrap();
            for secret in [secret.as_bytes(), &raw] {
                assert!(!bytes.windows(secret.len()).any(|part| part == secret));
            }
        }
    }
}

mod http {
    use openidconnect::AsyncHttpClient;
    use openidconnect::http::Request;
    use url::Url;

    use super::super::http::{Http, HttpError};

    async fn call(issuer: &str, url: &str) -> HttpError {
        let http = Http::new(Url::parse(issuer).unwrap(), None).unwrap();
        http.call(Request::get(url).body(Vec::new()).unwrap()).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_the_provider_names_is_not_nearer_than_the_provider() {
        async fn check(issuer: &str, url: &str, forbidden: bool) {
            let said = call(issuer, url).await;
            assert_eq!(matches!(said, HttpError::Forbidden(_)), forbidden, "{url}: {said}");
        }
        const WORLD: &str = "https://1.1.1.1";
        for near in [
            "https://127.0.0.1:1/",
            "https://localhost:1/",
            "https://0.0.0.0:1/",
            "https://2130706433:1/",
            "https://0x7f.1:1/",
            "https://[::1]:1/",
            "https://[::ffff:127.0.0.1]:1/",
            "https://10.0.0.1:1/",
            "https://[::ffff:10.0.0.1]:1/",
            "https://[64:ff9b::10.0.0.1]:1/",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/",
            "https://[fd00::1]/",
        ] {
            check(WORLD, near, true).await;
        }
        // One on this machine may name what is on it, but nothing else that is near.
        check("http://127.0.0.1:1", "https://127.0.0.2:1/", false).await;
        check("http://127.0.0.1:1", "https://169.254.169.254/", true).await;
        check("https://10.0.0.1", "https://127.0.0.1:1/", true).await;
    }

    #[tokio::test]
    async fn nothing_is_asked_in_clear_beyond_this_machine() {
        for (issuer, url) in [
            ("https://1.1.1.1", "http://1.1.1.1/"),
            ("https://127.0.0.1:1", "http://127.0.0.1:1/"),
            ("http://127.0.0.1:1", "http://1.1.1.1/"),
            ("http://127.0.0.1:1", "ftp://127.0.0.1:1/"),
            ("http://127.0.0.1:1", "http://me:secret@127.0.0.1:1/"),
        ] {
            let said = call(issuer, url).await;
            assert!(matches!(said, HttpError::Forbidden(_)), "{url}: {said}");
            assert!(!said.to_string().contains("secret"), "{said}");
        }
    }
}
