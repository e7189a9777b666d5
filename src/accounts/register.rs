//! Registering.

use super::{Accounts, Caller, Email, FieldError, FullName, User};
use crate::audit::{EventKind, Outcome};
use crate::credentials::{AdmitError, Overloaded, Password};
use crate::storage::{self, MailKind, NewMailJob, NewUser, StorageError, UserRole};

/// What a person registers with, as it came.
pub struct Registration {
    /// Address, not yet parsed.
    pub email: String,
    /// Password, not yet judged.
    pub password: String,
    /// Name, if given.
    pub full_name: Option<String>,
}

/// How a registration went well.
#[derive(Debug)]
pub enum Registered {
    /// 201: the account is there.
    Created(User),
    /// 202 with `REQUIRE_EMAIL_VERIFICATION`: the same for a new and a taken address.
    Pending,
}

/// Why an account was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// 422.
    #[error("a field of the registration is invalid")]
    Invalid(Vec<FieldError>),
    /// 409 `email_taken`; never with `REQUIRE_EMAIL_VERIFICATION`.
    #[error("the address is taken")]
    EmailTaken,
    /// 503 `overloaded`: the hash pool or the mail queue is full.
    #[error("overloaded")]
    Overloaded,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Overloaded> for RegisterError {
    fn from(_: Overloaded) -> Self {
        Self::Overloaded
    }
}

/// A registration all of whose fields are good.
struct Admitted {
    email: Email,
    full_name: Option<FullName>,
    password: Password,
}

impl Accounts {
    /// Registers an account, and queues the mail that verifies its address.
    ///
    /// A hash is computed whether the address is new or taken. With `REQUIRE_EMAIL_VERIFICATION` the same
    /// statements run in both cases too, and the worker that mails finds out which it was.
    pub async fn register(
        &self,
        registration: Registration,
        caller: &Caller,
    ) -> Result<Registered, RegisterError> {
        let admitted = self.admit_registration(&registration).await?;
        let hash = self.0.passwords.hash(&admitted.password).await?;
        let now = self.0.clock.now();
        let is_pending = self.0.settings.require_email_verification;
        let user = NewUser {
            id: storage::new_id(now),
            email: admitted.email.as_str(),
            full_name: admitted.full_name.as_ref().map(FullName::as_str),
            password_hash: &hash,
            role: UserRole::User,
            is_verified: false,
            is_pending,
            created_at: now,
        };
        // The link of a pending registration brings its own password and name: whoever registers the address
        // anew does not change what an older link is good for.
        let mail = NewMailJob {
            password_hash: is_pending.then_some(&*hash),
            full_name: user.full_name.filter(|_| is_pending),
            is_charged: caller.exempt,
            ..self.mail_to(MailKind::Registration, admitted.email.as_str())
        };
        let mut transaction = self.0.database.begin().await?;
        if is_pending {
            storage::register_pending(&mut transaction, &user).await?;
        } else if !storage::add_user(&mut transaction, &user).await? {
            transaction.rollback().await?;
            let event = caller
                .event(EventKind::Register, Outcome::Failure)
                .because("email_taken");
            self.0
                .audit
                .record(&event.of_account(&self.pseudonym(&admitted.email)));
            return Err(RegisterError::EmailTaken);
        }
        if !self.queue(&mut transaction, &mail).await? {
            transaction.rollback().await?;
            return Err(RegisterError::Overloaded);
        }
        transaction.commit().await?;
        self.0.mail_queued.notify_one();

        let account = self.pseudonym(&admitted.email);
        let event = caller
            .event(EventKind::Register, Outcome::Success)
            .of_account(&account);
        if is_pending {
            self.0.audit.record(&event.because("pending"));
            return Ok(Registered::Pending);
        }
        self.0.audit.record(&event.of_user(user.id));
        Ok(Registered::Created(User {
            id: user.id,
            email: user.email.to_owned(),
            full_name: user.full_name.map(str::to_owned),
            role: user.role.into(),
            is_active: true,
            is_verified: false,
            created_at: now,
            last_login_at: None,
        }))
    }

    /// Judges all fields, so that all that is wrong is told at once.
    async fn admit_registration(&self, registration: &Registration) -> Result<Admitted, RegisterError> {
        let mut errors = Vec::new();
        let email = Email::parse(&registration.email)
            .map_err(|error| errors.push(error.at("/email")))
            .ok();
        let full_name = FullName::of_field(registration.full_name.as_deref())
            .map_err(|error| errors.push(error))
            .ok();
        let own_words: Vec<&str> = email
            .iter()
            .map(Email::as_str)
            .chain(full_name.iter().flatten().map(FullName::as_str))
            .collect();
        let password = match self.0.passwords.admit(&registration.password, &own_words).await {
            Ok(password) => Some(password),
            Err(AdmitError::Refused(refusal)) => {
                errors.push(FieldError::new("/password", refusal.code, refusal.message));
                None
            }
            Err(AdmitError::Overloaded(_)) => return Err(RegisterError::Overloaded),
        };
        match (email, full_name, password) {
            (Some(email), Some(full_name), Some(password)) => Ok(Admitted {
                email,
                full_name,
                password,
            }),
            _ => Err(RegisterError::Invalid(errors)),
        }
    }
}
