//! Who is limited at the moment, by which rule and for how long, and setting one of them free.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use uuid::Uuid;

use super::Operator;
use crate::api_tokens::{ApiToken, SomebodysToken};
use crate::clock::Timestamp;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::Fields;
use crate::http::pages::form::Form;
use crate::http::pages::reply::{self, Faults, Frame, span};
use crate::http::pages::routing::Routes;
use crate::rate_limit::operator::OperatorError;
use crate::rate_limit::store::Reading;
use crate::rate_limit::{Per, Rule, Subject, Window};
use crate::storage::StorageError;

/// Counters on the page: the fullest, which are those that are looked for.
const MOST: usize = 100;

/// API tokens that are looked up, those that count the most: each has limits of its own, and is known by them alone.
const MOST_TOKENS: usize = 300;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/admin/limits", show)
        .form("/admin/limits/clear", clear)
}

/// One counter.
struct Line {
    rule: &'static str,
    subject: String,
    /// Whose, where it is an API token.
    token: Option<Token>,
    /// What the form sends to name it; `None` for what is shared by all who found no room in memory.
    tag: Option<String>,
    count: u32,
    limit: u32,
    resets_in: String,
}

/// An API token, as an operator knows it.
#[derive(Clone)]
struct Token {
    name: String,
    user_id: Uuid,
    email: String,
}

impl Line {
    fn is_full(&self) -> bool {
        self.count >= self.limit
    }

    fn fullness(&self) -> u64 {
        u64::from(self.count) * 1000 / u64::from(self.limit.max(1))
    }

    fn of(reading: &Reading, limit: u32, token: Option<Token>, now: Timestamp) -> Self {
        let left = Timestamp::from_millis(reading.resets_at).since(now);
        Self {
            rule: reading.key.rule().name(),
            subject: match reading.key.whose() {
                // An account's is 64 digits, which tell nobody whose it is; the first tell it from others.
                Some(Subject::Account(mac)) => format!("account {}…", mac.get(..12).unwrap_or(&mac)),
                _ => reading.key.subject().to_string(),
            },
            token,
            tag: reading.key.whose().map(|subject| subject.tag()),
            count: reading.count,
            limit,
            resets_in: span(left.as_secs().max(1)),
        }
    }
}

#[derive(Template)]
#[template(path = "limits.html")]
struct LimitsPage<'a> {
    frame: Frame<'a>,
    limited: Vec<Line>,
    counted: Vec<Line>,
    is_off: bool,
    is_lost: bool,
    done: &'static str,
}

/// The fullest of `readings`, as they are shown.
async fn fullest(http: &Http, readings: Vec<Reading>) -> Result<Vec<Line>, StorageError> {
    let (rules, now) = (&http.limiter.settings().rules, http.clock.now());
    let of_token = |reading: &Reading| reading.key.rule().per() == Per::Token;
    let (mut of_tokens, mut others): (Vec<_>, Vec<_>) = readings.into_iter().partition(of_token);
    // A window that its limit has no more holds nobody back.
    others.retain(|reading| reading.limit(rules).is_some());
    others.sort_by_cached_key(|reading| Reverse(reading.fullness(rules)));
    others.truncate(MOST);
    of_tokens.sort_by_key(|reading| Reverse(reading.count));
    of_tokens.truncate(MOST_TOKENS);

    let mut lines: Vec<Line> = others
        .iter()
        .filter_map(|reading| {
            Some(Line::of(
                reading,
                reading.limit(rules).map(Window::count)?,
                None,
                now,
            ))
        })
        .collect();
    let id = |reading: &Reading| reading.key.whose().and_then(|subject| subject.as_token());
    let ids: BTreeSet<Uuid> = of_tokens.iter().filter_map(id).collect();
    let found = http.api_tokens.some(ids).await?;
    let found: HashMap<Uuid, SomebodysToken> = found.into_iter().map(|own| (own.token.id, own)).collect();
    lines.extend(of_tokens.iter().filter_map(|reading| {
        let found = found.get(&id(reading)?)?;
        let token = Token {
            name: found.token.name.clone(),
            user_id: found.user_id,
            email: found.email.clone(),
        };
        let limit = limit_of(&found.token, reading.key.rule())?;
        Some(Line::of(reading, limit, Some(token), now))
    }));
    lines.sort_by_key(|line| Reverse(line.fullness()));
    lines.truncate(MOST);
    Ok(lines)
}

fn limit_of(token: &ApiToken, rule: Rule) -> Option<u32> {
    match rule {
        Rule::TokenMinute => Some(token.rate_limit_per_minute),
        Rule::TokenHour => Some(token.rate_limit_per_hour),
        Rule::TokenDay => Some(token.rate_limit_per_day),
        _ => None,
    }
}

async fn show(State(http): State<Arc<Http>>, operator: Operator, uri: Uri) -> Result<Response, ApiError> {
    let (readings, is_off, is_lost) = match http.accounts.counters(&operator.by).await {
        Ok(readings) => (readings, false, false),
        Err(OperatorError::Off) => (Vec::new(), true, false),
        Err(error) => {
            tracing::warn!(%error, "counters are not shown");
            (Vec::new(), false, true)
        }
    };
    let lines = fullest(&http, readings).await?;
    let (limited, counted) = lines.into_iter().partition(Line::is_full);
    let page = LimitsPage {
        frame: Frame::of(&http, &operator.visitor, "Limits")?,
        limited,
        counted,
        is_off,
        is_lost,
        done: match Fields::of_query(&uri).get("done") {
            "cleared" => "Cleared: all counters of this one begin anew, in every process within two seconds.",
            _ => "",
        },
    };
    reply::answer(&http, &page, &Faults::default())
}

/// Whom the form names, as the limiter knows him.
fn subject(tag: &str) -> Option<Subject> {
    let is_mac = |mac: &str| mac.len() == 64 && mac.bytes().all(|byte| byte.is_ascii_hexdigit());
    Subject::from_tag(tag).filter(|subject| match subject {
        Subject::Account(mac) => is_mac(mac),
        Subject::Client(_) | Subject::Token(_) => true,
    })
}

async fn clear(
    State(http): State<Arc<Http>>,
    operator: Operator,
    Form { fields, .. }: Form,
) -> Result<Response, ApiError> {
    let subject = subject(fields.get("subject")).ok_or_else(ApiError::not_found)?;
    if let Some(token) = subject.as_token() {
        http.api_tokens.forget_day(token).await?;
    }
    http.accounts.clear_counters(&operator.by, subject).await?;
    Ok(reply::see_other(&http, "/admin/limits?done=cleared"))
}
