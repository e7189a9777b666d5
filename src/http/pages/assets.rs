//! The stylesheet, the scripts and the mark, as browsers load them.
//!
//! They are part of the program. Their names carry a hash of what is in them, so that a browser may keep them for
//! ever and still never shows an old one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawPathParams, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::brand::Brand;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::pages::routing::Routes;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default().page("/static/{name}", serve)
}

/// One file.
#[derive(Clone, Debug)]
pub struct Asset {
    stem: &'static str,
    ending: &'static str,
    kind: &'static str,
    hash: String,
    body: Bytes,
}

impl Asset {
    fn new(stem: &'static str, ending: &'static str, kind: &'static str, body: String) -> Self {
        // Not against anybody's malice: only a new text must have a new name. Its keys are constants.
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Self {
            stem,
            ending,
            kind,
            hash: format!("{:016x}", hasher.finish()),
            body: body.into(),
        }
    }

    /// Where it is, behind the pages' base: `/static/stile-0f3a….css`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/static/{}-{}.{}", self.stem, self.hash, self.ending)
    }
}

/// All files.
#[derive(Clone, Debug)]
pub struct Assets {
    /// The stylesheet.
    pub style: Asset,
    /// The script of every page.
    pub script: Asset,
    /// The script of the limiter's chart.
    pub chart: Asset,
    /// The mark, also the icon of the tab.
    pub mark: Asset,
}

impl Assets {
    /// The files in the colours of `brand`.
    #[must_use]
    pub fn new(brand: &Brand) -> Self {
        let (light, dark) = (brand.color.on_light(), brand.color.on_dark());
        let style = format!(
            ":root{{--fill:{};--ink:{};--accent:{}}}\n@media (prefers-color-scheme:dark){{:root{{--fill:{};--ink:{};\
             --accent:{}}}}}\n{}",
            light.fill,
            light.ink,
            light.accent,
            dark.fill,
            dark.ink,
            dark.accent,
            include_str!("static/stile.css"),
        );
        let mark = include_str!("static/mark.svg")
            .replace("#fill", &light.fill.to_string())
            .replace("#ink", &light.ink.to_string());
        let script = include_str!("static/stile.js").to_owned();
        Self {
            style: Asset::new("stile", "css", "text/css; charset=utf-8", style),
            script: Asset::new("stile", "js", "text/javascript; charset=utf-8", script),
            chart: Asset::new(
                "chart",
                "js",
                "text/javascript; charset=utf-8",
                include_str!("static/chart.js").to_owned(),
            ),
            mark: Asset::new("mark", "svg", "image/svg+xml", mark),
        }
    }

    /// The file of this name, and whether its hash is right. While instances of two versions run side by side, the
    /// other one's name is asked for here: today's file is then better than none, but nothing to keep.
    fn find(&self, name: &str) -> Option<(&Asset, bool)> {
        let (rest, ending) = name.rsplit_once('.')?;
        let (stem, hash) = rest.rsplit_once('-')?;
        let asset = [&self.style, &self.script, &self.chart, &self.mark]
            .into_iter()
            .find(|asset| asset.stem == stem && asset.ending == ending)?;
        Some((asset, asset.hash == hash))
    }
}

async fn serve(State(http): State<Arc<Http>>, params: RawPathParams) -> Result<Response, ApiError> {
    let name = params.iter().next().map(|(_, name)| name).unwrap_or_default();
    let pages = http.pages.as_ref().ok_or_else(ApiError::not_found)?;
    let (asset, is_current) = pages.assets.find(name).ok_or_else(ApiError::not_found)?;
    let mut response = asset.body.clone().into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    if is_current {
        let for_ever = HeaderValue::from_static("public, max-age=31536000, immutable");
        headers.insert(CACHE_CONTROL, for_ever);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_its_own_name_and_by_that_of_another_version() {
        let assets = Assets::new(&Brand::default());
        let path = assets.style.path();
        let name = path.strip_prefix("/static/").unwrap();
        assert!(assets.find(name).unwrap().1);
        assert!(!assets.find("stile-0000000000000000.css").unwrap().1);
        for unknown in ["stile.css", "stile-.html", "", "../Cargo.toml", "mark-0.css"] {
            assert!(assets.find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn another_colour_is_another_file() {
        let other = Brand {
            color: "#800".parse().unwrap(),
            ..Brand::default()
        };
        let (one, two) = (Assets::new(&Brand::default()), Assets::new(&other));
        assert_ne!(one.style.path(), two.style.path());
        assert_eq!(one.script.path(), two.script.path());
    }
}
