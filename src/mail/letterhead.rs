//! What stands around every mail: the sender, and the product's looks.

use lettre::message::Mailbox;

use crate::brand::Brand;

/// The sender and the looks of a product.
#[derive(Clone, Debug)]
pub(super) struct Letterhead {
    /// `MAIL_FROM`.
    pub(super) from: Mailbox,
    /// `BRAND_NAME`, `BRAND_LOGO_URL`, `BRAND_COLOR`.
    pub(super) brand: Brand,
}

impl Letterhead {
    /// The plain text, signed.
    pub(super) fn text(&self, text: &str) -> String {
        format!("{text}\n{}\n", self.brand.name)
    }

    /// The paragraphs on a sheet of the product's own. The style stands in the document, because a mail can fetch none;
    /// where a reader takes it away, what is left still reads well. The sheet is light whatever the reader's scheme is.
    pub(super) fn html(&self, subject: &str, paragraphs: &str) -> String {
        let tones = self.brand.color.on_light();
        let name = escaped(&self.brand.name);
        let head = match &self.brand.logo_url {
            Some(url) => format!("<img src=\"{}\" alt=\"{name}\" height=\"32\">", escaped(url)),
            None => name.clone(),
        };
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light\">\n\
             <title>{subject}</title>\n<style>\n\
             body {{ margin: 0; padding: 24px 12px; background: #f5f6f4; color: #1d2320;\n\
             \x20 font: 16px/1.5 system-ui, -apple-system, \"Segoe UI\", Roboto, sans-serif }}\n\
             .sheet {{ max-width: 520px; margin: 0 auto; padding: 20px 28px; background: #ffffff;\n\
             \x20 border-top: 4px solid {fill}; border-radius: 8px }}\n\
             .brand {{ font-weight: 600; color: {accent} }}\n\
             a {{ color: {accent}; overflow-wrap: anywhere }}\n\
             .foot {{ max-width: 520px; margin: 0 auto; padding: 12px 28px; font-size: 13px; color: #5b645f }}\n\
             </style>\n</head>\n<body>\n<div class=\"sheet\">\n<p class=\"brand\">{head}</p>\n{paragraphs}</div>\n\
             <p class=\"foot\">{name}</p>\n</body>\n</html>\n",
            subject = escaped(subject),
            fill = tones.fill,
            accent = tones.accent,
        )
    }
}

/// `text` as HTML shows it, in an element or in a quoted attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letterhead(name: &str, logo_url: Option<&str>, color: &str) -> Letterhead {
        Letterhead {
            from: "stile <no-reply@localhost>".parse().unwrap(),
            brand: Brand {
                name: name.to_owned(),
                logo_url: logo_url.map(str::to_owned),
                color: color.parse().unwrap(),
            },
        }
    }

    #[test]
    fn a_mail_wears_name_and_colour_in_both_parts() {
        let letterhead = letterhead("Acme & Söhne", None, "#123456");
        assert_eq!(letterhead.text("Hello,\n"), "Hello,\n\nAcme & Söhne\n");
        let html = letterhead.html("Set a new password", "<p>Hello,</p>\n");
        for part in [
            "<title>Set a new password</title>",
            "<p class=\"brand\">Acme &amp; Söhne</p>",
            "border-top: 4px solid #123456",
            "<p>Hello,</p>\n</div>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn a_logo_stands_for_the_name_which_is_its_alternative() {
        let url = "https://cdn.example/logo.png?a=1&b=2";
        let html = letterhead("<Acme>", Some(url), "#fff").html("x", "");
        let logo =
            "<img src=\"https://cdn.example/logo.png?a=1&amp;b=2\" alt=\"&lt;Acme&gt;\" height=\"32\">";
        assert!(html.contains(logo), "{html}");
        assert!(!html.contains("<Acme>"), "{html}");
    }
}
