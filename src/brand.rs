//! How a product wears its pages and its mails: `BRAND_NAME`, `BRAND_LOGO_URL`, `BRAND_COLOR`.
//!
//! An operator picks one colour; whether it can be read is settled here, not on somebody's screen
//! (WCAG 2.2, success criteria 1.4.3 and 1.4.11).

use std::fmt;
use std::str::FromStr;

/// The product's looks, as `config` reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brand {
    /// `BRAND_NAME`: stands in titles and headings.
    pub name: String,
    /// `BRAND_LOGO_URL`: an http(s) address that browsers load a picture from.
    pub logo_url: Option<String>,
    /// `BRAND_COLOR`.
    pub color: Color,
}

impl Default for Brand {
    fn default() -> Self {
        Self {
            name: "stile".to_owned(),
            logo_url: None,
            color: Color::DEFAULT,
        }
    }
}

/// A colour of the sRGB space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color([u8; 3]);

/// What keeps a text from being a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no colour such as #2f6150 or #264")]
pub struct NoColor;

impl FromStr for Color {
    type Err = NoColor;

    fn from_str(text: &str) -> Result<Self, NoColor> {
        let digits = text.strip_prefix('#').ok_or(NoColor)?;
        let values: Option<Vec<u8>> = digits
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
            .collect();
        match values.ok_or(NoColor)?.as_slice() {
            [red, green, blue] => Ok(Self([red * 17, green * 17, blue * 17])),
            [r1, r2, g1, g2, b1, b2] => Ok(Self([r1 * 16 + r2, g1 * 16 + g2, b1 * 16 + b2])),
            _ => Err(NoColor),
        }
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

/// Least contrast of text with its ground (WCAG 2.2, 1.4.3).
const READABLE: f64 = 4.5;

/// The grounds that the stylesheet puts text in the accent colour on: the darker of the two light ones, and the
/// lighter of the two dark ones.
const LIGHT_GROUND: Color = Color([0xf5, 0xf6, 0xf4]);
const DARK_GROUND: Color = Color([0x1b, 0x20, 0x1e]);

impl Color {
    /// The green of moss on a stile.
    pub const DEFAULT: Self = Self([0x2f, 0x61, 0x50]);
    const BLACK: Self = Self([0; 3]);
    const WHITE: Self = Self([255; 3]);

    /// Relative luminance (WCAG 2.2).
    fn luminance(self) -> f64 {
        let [r, g, b] = self.0.map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// Contrast ratio, 1 to 21 (WCAG 2.2).
    fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// White where it can be read on this colour, else black, which then can: one of the two always has 4.58 or more.
    fn ink(self) -> Self {
        if self.contrast(Self::WHITE) >= READABLE {
            Self::WHITE
        } else {
            Self::BLACK
        }
    }

    /// This colour, taken towards `end` only as far as it must be to be read on `ground`.
    fn readable_on(self, ground: Self, end: Self) -> Self {
        (0..=20u16)
            .map(|step| self.mixed(end, step))
            .find(|color| color.contrast(ground) >= READABLE)
            .unwrap_or(end)
    }

    /// As many `twentieths` as bright, as far as its strongest channel goes: its hue stays, where white would grey it.
    fn brightened(self, twentieths: u16) -> Self {
        let strongest = self.0.iter().copied().max().map_or(0, u16::from);
        let most = 5_100_u16.checked_div(strongest).unwrap_or(20);
        let bright = |channel: u8| u16::from(channel) * twentieths.min(most) / 20;
        Self(
            self.0
                .map(|channel| u8::try_from(bright(channel)).unwrap_or(u8::MAX)),
        )
    }

    /// `twentieths` of `other` in it.
    fn mixed(self, other: Self, twentieths: u16) -> Self {
        let mix = |(own, other): (u8, u8)| {
            let sum = u16::from(own) * (20 - twentieths) + u16::from(other) * twentieths;
            u8::try_from(sum / 20).unwrap_or(u8::MAX)
        };
        let [red, green, blue] = self.0;
        let [other_red, other_green, other_blue] = other.0;
        Self([(red, other_red), (green, other_green), (blue, other_blue)].map(mix))
    }

    /// On a light ground: buttons wear the colour as it was given, text and outlines a tone that can be read.
    #[must_use]
    pub fn on_light(self) -> Tones {
        Tones {
            fill: self,
            ink: self.ink(),
            accent: self.readable_on(LIGHT_GROUND, Self::BLACK),
        }
    }

    /// On a dark ground all of it is lightened as far as it must be, or a dark button would sink into it.
    #[must_use]
    pub fn on_dark(self) -> Tones {
        let accent = (20..=60u16)
            .map(|twentieths| self.brightened(twentieths))
            .find(|color| color.contrast(DARK_GROUND) >= READABLE)
            .unwrap_or_else(|| self.brightened(60).readable_on(DARK_GROUND, Self::WHITE));
        Tones {
            fill: accent,
            ink: accent.ink(),
            accent,
        }
    }
}

/// One colour as a stylesheet needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tones {
    /// What a button is filled with.
    pub fill: Color,
    /// What is written on that.
    pub ink: Color,
    /// Links, outlines, marks.
    pub accent: Color,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_three_or_six_digits_behind_a_hash() {
        assert_eq!("#264".parse(), Ok(Color([0x22, 0x66, 0x44])));
        assert_eq!("#2F6150".parse(), Ok(Color::DEFAULT));
        assert_eq!(Color::DEFAULT.to_string(), "#2f6150");
        for text in [
            "", "#", "2f6150", "#2f615", "#2f61500", "#gggggg", "green", "#fff;}", "#ééé", "#+1+1+1",
        ] {
            assert_eq!(text.parse::<Color>(), Err(NoColor), "{text}");
        }
    }

    #[test]
    fn contrast_is_as_wcag_counts_it() {
        assert!((Color::BLACK.contrast(Color::WHITE) - 21.0).abs() < 1e-9);
        let grey = Color([0x76, 0x76, 0x76]);
        assert!((grey.contrast(Color::WHITE) - 4.54).abs() < 0.01);
    }

    #[test]
    fn every_colour_can_be_read_in_light_and_dark() {
        for value in (0..0x0100_0000u32).step_by(4_099) {
            let [_, r, g, b] = value.to_be_bytes();
            let color = Color([r, g, b]);
            let (light, dark) = (color.on_light(), color.on_dark());
            assert!(light.accent.contrast(LIGHT_GROUND) >= READABLE, "{color}");
            assert!(dark.accent.contrast(DARK_GROUND) >= READABLE, "{color}");
            for tones in [light, dark] {
                assert!(tones.ink.contrast(tones.fill) >= READABLE, "{color}");
            }
        }
    }
}
