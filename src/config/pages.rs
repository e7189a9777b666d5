//! What pages and mails look like, and whether there are pages.

use url::Url;

use super::Environment;
use super::error::printable;
use super::reader::Reader;
use crate::brand::Brand;
use crate::field::is_no_writing;

/// The longest name that still fits a narrow screen and a subject line.
const LONGEST_NAME: usize = 40;

pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> (Brand, bool) {
    let enabled = reader.flag("ENABLE_PAGES", true);
    let default = Brand::default();
    let brand = Brand {
        name: reader.value("BRAND_NAME", default.name, String::clone, name),
        logo_url: reader.optional("BRAND_LOGO_URL", String::clone, |text| {
            logo_url(text, environment.is_production())
        }),
        color: reader.value("BRAND_COLOR", default.color, ToString::to_string, |text| {
            let color = text.trim().parse();
            color.map_err(|wrong| format!("`{}` {wrong}", printable(text)))
        }),
    };
    (brand, enabled)
}

fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.chars().count() > LONGEST_NAME || name.chars().any(is_no_writing) {
        return Err(format!("must be one line of at most {LONGEST_NAME} characters"));
    }
    Ok(name.to_owned())
}

/// An address that browsers load a picture from. It stands in a header (Content-Security-Policy), so that only what
/// the URL parser wrote is kept.
fn logo_url(text: &str, demand_https: bool) -> Result<String, String> {
    let wrong = || "must be the https:// or http:// address of a picture".to_owned();
    let url = Url::parse(text.trim()).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.host().is_some();
    if !plain || !matches!(url.scheme(), "http" | "https") {
        return Err(wrong());
    }
    if demand_https && url.scheme() != "https" {
        return Err("production needs an https:// address here".to_owned());
    }
    Ok(url.into())
}
