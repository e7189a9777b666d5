//! Everything a use case needs: a database, keys, a limiter in memory, a clock, and a folder that mail goes into.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use stile::accounts::{self, Accounts, Caller, Identity, Logout, Registered, Registration, SessionTokens};
use stile::audit::Audit;
use stile::brand::Brand;
use stile::clock::Clock;
use stile::credentials::{AccessTokens, PasswordPolicy, Passwords, PoolSettings, SecretKeys, SigningKeys};
use stile::mail::{self, Mailer, TransportSettings};
use stile::rate_limit::{self, Client, Limiter, Rule, Rules};
use stile::storage::{self, AuditRow, Database};
use tokio_util::sync::CancellationToken;

use crate::databases::{TestDatabase, at};

/// A password that every policy here accepts.
pub const PASSWORD: &str = "correct-horse-battery-9";

pub const EMAIL: &str = "ada@example.com";

/// What a test may choose.
pub struct Choices {
    pub settings: accounts::Settings,
    pub rules: Rules,
    pub min_score: u8,
}

/// One stile without its HTTP surface.
pub struct World {
    pub accounts: Accounts,
    pub clock: Clock,
    pub database: Database,
    pub audit: Audit,
    pub outbox: PathBuf,
    store: TestDatabase,
    settings: accounts::Settings,
    passwords: Passwords,
    access_tokens: AccessTokens,
    secret_keys: SecretKeys,
    limiter: Limiter,
    _folder: tempfile::TempDir,
}

/// A mail as its reader sees it.
#[derive(Clone, Debug)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub token: Option<String>,
}

impl World {
    /// All limits off, no policy but a length, verification not required, ten seconds of grace.
    pub fn on(store: TestDatabase, choose: impl FnOnce(&mut Choices)) -> Self {
        let mut rules = Rules::defaults(true);
        for rule in Rule::ALL {
            rules.set(rule, "off".parse().unwrap());
        }
        let days = |days: u64| Duration::from_hours(24 * days);
        let settings = accounts::Settings {
            frontend_url: "https://app.example.com".into(),
            require_email_verification: false,
            session_idle_lifetime: days(30),
            session_max_lifetime: days(90),
            refresh_reuse_grace: Duration::from_secs(10),
            reset_token_lifetime: Duration::from_mins(15),
            verify_token_lifetime: days(1),
            audit_retention: days(90),
            log_links: false,
            outbox: None,
        };
        let mut choices = Choices {
            settings,
            rules,
            min_score: 0,
        };
        choose(&mut choices);
        let clock = Clock::manual(at(0));
        let limiter = rate_limit::Settings {
            enabled: true,
            rules: choices.rules,
            redis: None,
            key_prefix: "test".into(),
            fleet_size: None,
            memory_keys: NonZeroUsize::new(10_000).unwrap(),
            ipv6_prefix: 64,
            allowlist: Vec::new(),
        };
        let limiter = Limiter::start(limiter, clock.clone()).unwrap();
        let policy = PasswordPolicy {
            min_length: 8,
            min_score: choices.min_score,
        };
        let passwords = Passwords::start(
            policy,
            PoolSettings {
                workers: 2,
                queue: 1000,
                patience: Duration::from_secs(30),
            },
        )
        .unwrap();
        let signing_keys = SigningKeys::from_pem(&SigningKeys::generate_pem(), &[]).unwrap();
        let secret_keys = SecretKeys::new(signing_keys.default_secret_key(), None).unwrap();
        let access_tokens = AccessTokens::new(
            signing_keys,
            "https://stile".into(),
            "stile".into(),
            Duration::from_mins(15),
        );
        let folder = tempfile::tempdir().unwrap();
        let database = store.database.clone();
        let audit = Audit::start(database.clone(), clock.clone());
        let accounts = Accounts::new(
            database.clone(),
            passwords.clone(),
            access_tokens.clone(),
            secret_keys.clone(),
            limiter.clone(),
            audit.clone(),
            clock.clone(),
            choices.settings.clone(),
        );
        Self {
            accounts,
            clock,
            database,
            audit,
            outbox: folder.path().join("outbox"),
            store,
            settings: choices.settings,
            passwords,
            access_tokens,
            secret_keys,
            limiter,
            _folder: folder,
        }
    }

    /// A second process on the same database, with the same keys: connections and memory of its own.
    pub async fn second_process(&self) -> (Accounts, Database) {
        let database = Database::connect(&self.store.settings).await.unwrap();
        let accounts = Accounts::new(
            database.clone(),
            self.passwords.clone(),
            self.access_tokens.clone(),
            self.secret_keys.clone(),
            self.limiter.clone(),
            Audit::start(database.clone(), self.clock.clone()),
            self.clock.clone(),
            self.settings.clone(),
        );
        (accounts, database)
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Registers an account and demands 201.
    pub async fn register(&self, email: &str) {
        let registered = self
            .accounts
            .register(registration(email, PASSWORD), &caller(1))
            .await
            .unwrap();
        assert!(matches!(registered, Registered::Created(_)));
    }

    /// Registers an account with its password and demands 202.
    pub async fn register_pending(&self, email: &str, password: &str) {
        let registered = self
            .accounts
            .register(registration(email, password), &caller(1))
            .await
            .unwrap();
        assert!(matches!(registered, Registered::Pending));
    }

    /// Logs in with [`PASSWORD`].
    pub async fn login(&self, email: &str) -> SessionTokens {
        self.accounts.login(email, PASSWORD, &caller(1)).await.unwrap()
    }

    /// Registers and logs in.
    pub async fn user(&self, email: &str) -> (SessionTokens, Identity) {
        self.register(email).await;
        let tokens = self.login(email).await;
        let identity = self.accounts.authenticate(&tokens.access_token).await.unwrap();
        (tokens, identity)
    }

    pub async fn is_signed_in(&self, tokens: &SessionTokens) -> bool {
        self.accounts.authenticate(&tokens.access_token).await.is_ok()
    }

    pub async fn logout(&self, refresh_token: &str) {
        self.accounts
            .logout(Logout::RefreshToken(refresh_token.into()), &caller(1))
            .await
            .unwrap();
    }

    pub async fn deactivate(&self, email: &str) {
        self.raw(&format!(
            "UPDATE users SET is_active = FALSE WHERE email = '{email}'"
        ))
        .await;
    }

    pub async fn raw(&self, sql: &str) {
        crate::databases::raw(&self.store.settings, sql).await;
    }

    pub fn mailer(&self) -> Mailer {
        let transport = TransportSettings::Folder(self.outbox.clone());
        Mailer::new(mail::Settings {
            transport,
            from: "stile <no-reply@example.com>".parse().unwrap(),
            brand: Brand::default(),
        })
        .unwrap()
    }

    /// Sends all that is queued, and returns the mails to `to` so far, oldest first.
    pub async fn mails(&self, to: &str) -> Vec<Mail> {
        self.deliver_until(async || self.accounts.mail_queue().await.unwrap().total() == 0)
            .await;
        let mut files: Vec<PathBuf> = match std::fs::read_dir(&self.outbox) {
            Ok(files) => files.map(|file| file.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        };
        files.sort();
        let mails = files
            .iter()
            .map(|file| parse(&std::fs::read_to_string(file).unwrap()));
        mails.filter(|mail| mail.to == to).collect()
    }

    /// The token of the newest mail to `to`.
    pub async fn token(&self, to: &str) -> String {
        self.mails(to).await.pop().unwrap().token.unwrap()
    }

    /// Runs delivery until `done`.
    pub async fn deliver_until(&self, done: impl AsyncFn() -> bool) {
        let stop = CancellationToken::new();
        let delivery = tokio::spawn({
            let (accounts, mailer, stop) = (self.accounts.clone(), self.mailer(), stop.clone());
            async move { accounts.run_delivery(mailer, stop).await }
        });
        let waiting = async {
            while !done().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .expect("delivery gets done");
        stop.cancel();
        delivery.await.unwrap();
    }

    /// The audit log so far, oldest first. Ends it.
    pub async fn events(&self) -> Vec<AuditRow> {
        self.audit.shutdown().await;
        let mut on = self.database.read().await.unwrap();
        let mut rows = storage::latest_audit_rows(&mut on, 10_000).await.unwrap();
        rows.reverse();
        rows
    }
}

/// Tries again while the hash pool is full, as `Retry-After` asks: on a machine that is busy with other tests, 50
/// hashes at once wait longer than the pool lets them.
pub async fn patiently<T, E, F>(attempt: impl Fn() -> F) -> Result<T, E>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    loop {
        match attempt().await {
            Err(error) if error.to_string() == "overloaded" => {
                tokio::time::sleep(Duration::from_millis(200)).await
            }
            outcome => return outcome,
        }
    }
}

/// A caller from the `n`th address.
pub fn caller(n: u32) -> Caller {
    let ip = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
    Caller {
        client: Client::of(ip, 64),
        ip,
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".into()),
        request_id: format!("request-{n}"),
        exempt: false,
    }
}

pub fn registration(email: &str, password: &str) -> Registration {
    Registration {
        email: email.into(),
        password: password.into(),
        full_name: Some("Ada Lovelace".into()),
    }
}

fn parse(text: &str) -> Mail {
    let header = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        line.trim().to_owned()
    };
    let token = text
        .split_once("#token=")
        .map(|(_, rest)| rest.chars().take(43).collect());
    Mail {
        to: header("To:"),
        subject: header("Subject:"),
        token,
    }
}
