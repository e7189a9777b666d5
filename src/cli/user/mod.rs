//! `stile user`: accounts, as the operator administers them, beside running servers.
//!
//! Standard output holds what a script wants (a table, a link, JSON); what was done is told on standard error.

mod import;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::json;

use super::operator::{self, Beside, Reach, Refusal, User as Named};
use super::table::{List, table};
use crate::accounts::{NewAccount, PasswordLink, Role, User, UserChange};
use crate::config::Config;
use crate::storage::Database;

/// Users read at once.
const PAGE: u32 = 1000;

const USER: &str = "The account's e-mail address, or its id";

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Make an account, and print a link with which its owner chooses a password, once.
    #[command(after_long_help = super::reads_everything())]
    Create {
        /// The address of the account.
        email: String,
        /// Its owner's name.
        #[arg(long)]
        name: Option<String>,
        /// What it may do.
        #[arg(long, default_value = "user", value_parser = role())]
        role: Role,
        /// Print JSON: the account and the link.
        #[arg(long)]
        json: bool,
    },
    /// Print accounts, the newest first.
    #[command(after_long_help = super::reads_everything())]
    List {
        /// Only those with this text in address or name.
        #[arg(long)]
        query: Option<String>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Print one account.
    #[command(after_long_help = super::reads_everything())]
    Show {
        #[arg(help = USER, value_name = "EMAIL")]
        user: String,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Let the account log in again. Its API tokens work again too.
    #[command(after_long_help = super::reads_everything())]
    Activate {
        #[arg(help = USER, value_name = "EMAIL")]
        user: String,
        /// Print the account as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Refuse the account's logins, and end its sessions and API tokens in every running server.
    #[command(after_long_help = super::reads_everything())]
    Deactivate {
        #[arg(help = USER, value_name = "EMAIL")]
        user: String,
        /// Print the account as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what the account may do.
    #[command(after_long_help = super::reads_everything())]
    SetRole {
        #[arg(help = USER, value_name = "EMAIL")]
        user: String,
        /// What it may do.
        #[arg(value_parser = role())]
        role: Role,
        /// Print the account as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a link with which the account's owner sets a new password, once. Older links end.
    #[command(after_long_help = super::reads_everything())]
    SetPasswordLink {
        #[arg(help = USER, value_name = "EMAIL")]
        user: String,
        /// Print JSON: the link, and for how long it is good.
        #[arg(long)]
        json: bool,
    },
    /// Delete the account and all that hangs on it. There is no way back.
    #[command(after_long_help = super::reads_everything())]
    Delete {
        #[arg(help = USER, value_name = "EMAIL")]
        user: String,
        /// Print JSON: the id of the account.
        #[arg(long)]
        json: bool,
    },
    /// Bring accounts from elsewhere, with the hashes of their passwords; run again, it goes on where it ended.
    #[command(after_long_help = format!("{}\n{}", import::FORMAT, super::reads_everything()))]
    Import {
        /// One JSON object on each line.
        file: PathBuf,
        /// Print JSON: how many were imported, were there already, and which lines were refused.
        #[arg(long)]
        json: bool,
    },
}

fn role() -> impl clap::builder::TypedValueParser<Value = Role> {
    PossibleValuesParser::new(["user", "admin"]).map(|role| match role.as_str() {
        "admin" => Role::Admin,
        _ => Role::User,
    })
}

pub(super) async fn run(env_file: Option<&Path>, command: &Command) -> ExitCode {
    let config = match operator::configured(env_file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let done = match command {
        Command::Create {
            email,
            name,
            role,
            json,
        } => {
            let account = NewAccount {
                email,
                full_name: name.as_deref(),
                role: *role,
            };
            create(config, &account, *json).await
        }
        Command::List { query, json } => list(config, query.as_deref(), *json).await,
        Command::Show { user, json } => show(config, user, *json).await,
        Command::Activate { user, json } => {
            let change = UserChange {
                is_active: Some(true),
                role: None,
            };
            change_user(config, user, change, *json).await
        }
        Command::Deactivate { user, json } => {
            let change = UserChange {
                is_active: Some(false),
                role: None,
            };
            change_user(config, user, change, *json).await
        }
        Command::SetRole { user, role, json } => {
            let change = UserChange {
                is_active: None,
                role: Some(*role),
            };
            change_user(config, user, change, *json).await
        }
        Command::SetPasswordLink { user, json } => set_password_link(config, user, *json).await,
        Command::Delete { user, json } => delete(config, user, *json).await,
        Command::Import { file, json } => import::run(config, file, *json).await,
    };
    operator::conclude(done)
}

/// The database, which is made where there is none yet: a first administrator comes before the first start.
async fn database(config: &Config) -> Result<Database, Refusal> {
    let database = Database::connect(&config.storage).await;
    database.map_err(|error| Refusal::database(&error))
}

/// The use cases, where there is a database; there are no accounts where there is none.
async fn existing(config: Config, reach: Reach, user: &Named) -> Result<Beside, Refusal> {
    let database = operator::database(&config).await?;
    let database = database.ok_or_else(|| user.unknown())?;
    Beside::connect(config, database, reach).await
}

async fn create(config: Config, account: &NewAccount<'_>, as_json: bool) -> Result<ExitCode, Refusal> {
    // A wrong address makes no database.
    let user = Named::parse(account.email)?;
    let database = database(&config).await?;
    let beside = Beside::connect(config, database, Reach::Database).await?;
    let made = async {
        let made = beside.accounts.create_user(&beside.by, account).await?;
        let link = beside.accounts.password_link(&beside.by, made.id).await?;
        Ok((made, link))
    };
    let made = made.await;
    beside.close().await;
    let (made, link) = made.map_err(|error| user.refusal(&error))?;
    if as_json {
        let made =
            json!({ "user": made, "link": link.link, "expires_in_seconds": link.expires_in.as_secs() });
        return Ok(super::print(&format!("{made:#}\n")));
    }
    super::say_error(&format!(
        "{} was created; its owner chooses a password with this link",
        made.email
    ));
    Ok(print_link(&link))
}

async fn list(config: Config, query: Option<&str>, as_json: bool) -> Result<ExitCode, Refusal> {
    let mut list = List::new(as_json, "there are no accounts");
    let Some(database) = operator::database(&config).await? else {
        return Ok(super::print(&list.part::<User>(&[], true, rows)));
    };
    let beside = Beside::connect(config, database, Reach::Database).await?;
    let page = async |request| beside.accounts.users(&beside.by, query, request).await;
    let printed = list.print_pages(PAGE, rows, page).await;
    beside.close().await;
    printed
}

async fn show(config: Config, user: &str, as_json: bool) -> Result<ExitCode, Refusal> {
    let user = Named::parse(user)?;
    let beside = existing(config, Reach::Database, &user).await?;
    let found = async {
        let id = user.id(&beside).await?;
        let found = beside.accounts.user(&beside.by, id).await;
        found.map_err(|error| user.refusal(&error))
    };
    let found = found.await;
    beside.close().await;
    Ok(print_user(&found?, as_json))
}

async fn change_user(
    config: Config,
    user: &str,
    change: UserChange,
    as_json: bool,
) -> Result<ExitCode, Refusal> {
    let user = Named::parse(user)?;
    let beside = existing(config, Reach::Processes, &user).await?;
    let changed = async {
        let id = user.id(&beside).await?;
        let changed = beside.accounts.change_user(&beside.by, id, change).await;
        let changed = changed.map_err(|error| user.refusal(&error))?;
        let has_admin = beside.accounts.has_active_admin(&beside.by).await;
        Ok::<_, Refusal>((changed, has_admin.unwrap_or(true)))
    };
    let changed = changed.await;
    beside.close().await;
    let (changed, has_admin) = changed?;
    if !has_admin && (change.is_active == Some(false) || change.role == Some(Role::User)) {
        say_that_no_admin_is_left();
    }
    if as_json {
        return Ok(print_user(&changed, true));
    }
    let what = match (change.is_active, change.role) {
        (Some(true), _) => "active".to_owned(),
        (Some(false), _) => "deactivated, and signed out everywhere".to_owned(),
        (_, role) => format!("{} now", role.map_or("unchanged", Role::as_str)),
    };
    Ok(super::print(&format!("{} is {what}\n", changed.email)))
}

async fn set_password_link(config: Config, user: &str, as_json: bool) -> Result<ExitCode, Refusal> {
    let user = Named::parse(user)?;
    let beside = existing(config, Reach::Database, &user).await?;
    let made = async {
        let id = user.id(&beside).await?;
        let made = beside.accounts.password_link(&beside.by, id).await;
        made.map_err(|error| user.refusal(&error))
    };
    let made = made.await;
    beside.close().await;
    let link = made?;
    if as_json {
        let link = json!({ "link": link.link, "expires_in_seconds": link.expires_in.as_secs() });
        return Ok(super::print(&format!("{link:#}\n")));
    }
    Ok(print_link(&link))
}

async fn delete(config: Config, user: &str, as_json: bool) -> Result<ExitCode, Refusal> {
    let user = Named::parse(user)?;
    let beside = existing(config, Reach::Processes, &user).await?;
    let deleted = async {
        let id = user.id(&beside).await?;
        let before = beside.accounts.has_active_admin(&beside.by).await;
        let deleted = beside.accounts.delete_user(&beside.by, id).await;
        deleted.map_err(|error| user.refusal(&error))?;
        let after = beside.accounts.has_active_admin(&beside.by).await;
        let was_the_last = matches!((before, after), (Ok(true), Ok(false)));
        Ok::<_, Refusal>((id, was_the_last))
    };
    let deleted = deleted.await;
    beside.close().await;
    let (id, was_the_last) = deleted?;
    if was_the_last {
        say_that_no_admin_is_left();
    }
    Ok(super::print(&if as_json {
        format!("{:#}\n", json!({ "deleted": id }))
    } else {
        format!("{id} is deleted\n")
    }))
}

/// The operator may do it: he can make another.
fn say_that_no_admin_is_left() {
    super::say_error("there is no active administrator now");
}

fn print_link(link: &PasswordLink) -> ExitCode {
    let minutes = link.expires_in.as_secs() / 60;
    super::say_error(&format!("it is good once, for {minutes} minutes"));
    super::print(&format!("{}\n", link.link))
}

fn print_user(user: &User, as_json: bool) -> ExitCode {
    if as_json {
        super::print(&format!("{:#}\n", json!(user)))
    } else {
        super::print(&rows(std::slice::from_ref(user)))
    }
}

fn rows(users: &[User]) -> String {
    let yes = |flag| if flag { "yes" } else { "no" }.to_owned();
    let cells = |user: &User| {
        [
            user.id.to_string(),
            user.email.clone(),
            user.full_name.clone().unwrap_or_else(|| "-".to_owned()),
            user.role.as_str().to_owned(),
            yes(user.is_active),
            yes(user.is_verified),
            user.created_at.to_string(),
            user.last_login_at
                .map_or_else(|| "never".to_owned(), |at| at.to_string()),
        ]
    };
    let rows: Vec<_> = users.iter().map(cells).collect();
    table(
        [
            "ID",
            "EMAIL",
            "NAME",
            "ROLE",
            "ACTIVE",
            "VERIFIED",
            "CREATED",
            "LAST LOGIN",
        ],
        &rows,
    )
}
