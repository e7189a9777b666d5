//! What a new password must meet: a length, and an estimate of how hard it is to guess.
//!
//! No composition rules (NIST SP 800-63B, ASVS 6.2.5): zxcvbn knows the common passwords, names,
//! dates and keyboard walks, and is given the user's own words besides.

use unicode_normalization::UnicodeNormalization as _;
use zxcvbn::feedback::Warning;
use zxcvbn::zxcvbn;

use super::password::Password;
use crate::field::is_no_text;

/// What a new password must meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Fewest code points, 8 to 64.
    pub min_length: usize,
    /// Least zxcvbn score, 0 to 4; at 0 nothing is estimated and only the length counts.
    pub min_score: u8,
}

/// Why a new password was refused. Never repeats it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PasswordRefusal {
    /// `too_short`, `too_long`, `too_weak` or `invalid_character`.
    pub code: &'static str,
    /// A sentence for the user.
    pub message: String,
}

impl PasswordRefusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl PasswordPolicy {
    /// What can be seen without estimating: lengths and impossible characters.
    pub(super) fn check_text(self, raw: &str) -> Result<Password, PasswordRefusal> {
        let Ok(password) = Password::parse(raw) else {
            let message = format!("The password must have at most {} characters.", Password::LONGEST);
            return Err(PasswordRefusal::new("too_long", message));
        };
        if password.as_str().chars().any(is_no_text) {
            let message = "The password contains a character that cannot be typed everywhere.";
            return Err(PasswordRefusal::new("invalid_character", message));
        }
        if password.as_str().chars().count() < self.min_length {
            let message = format!("The password must have at least {} characters.", self.min_length);
            return Err(PasswordRefusal::new("too_short", message));
        }
        Ok(password)
    }

    /// How hard it is to guess for somebody who knows the user. Takes milliseconds.
    pub(super) fn check_strength(
        self,
        password: &Password,
        own_words: &[String],
    ) -> Result<(), PasswordRefusal> {
        let own_words = taken_apart(own_words);
        let own_words: Vec<&str> = own_words.iter().map(String::as_str).collect();
        let estimate = zxcvbn(password.as_str(), &own_words);
        if u8::from(estimate.score()) >= self.min_score {
            return Ok(());
        }
        let own = |word: &&str| password.as_str().to_lowercase().contains(word);
        let reason = if own_words.iter().any(own) {
            "it contains your name, your address or the name of this service"
        } else {
            reason(estimate.feedback().and_then(zxcvbn::feedback::Feedback::warning))
        };
        let message = format!(
            "The password is too easy to guess: {reason}. Use a longer one, or several unrelated words."
        );
        Err(PasswordRefusal::new("too_weak", message))
    }
}

/// The words themselves and their parts, in the form in which a password is compared with them.
/// Shorter parts are left out: a single letter that counts as known makes every password look weak.
fn taken_apart(own_words: &[String]) -> Vec<String> {
    const MOST: usize = 32;
    const SHORTEST: usize = 3;
    let mut words = vec!["stile".to_owned()];
    for word in own_words {
        let word: String = word
            .nfc()
            .take(Password::LONGEST)
            .collect::<String>()
            .to_lowercase();
        words.extend(word.split(|c: char| !c.is_alphanumeric()).map(str::to_owned));
        // What stands before the @ of an address is a word of its own, dots and all.
        words.extend(word.split('@').map(str::to_owned));
        words.push(word);
    }
    words.retain(|word| word.chars().count() >= SHORTEST);
    words.truncate(MOST);
    words
}

fn reason(warning: Option<Warning>) -> &'static str {
    match warning {
        Some(
            Warning::ThisIsATop10Password | Warning::ThisIsATop100Password | Warning::ThisIsACommonPassword,
        ) => "it is one of the most common passwords",
        Some(Warning::ThisIsSimilarToACommonlyUsedPassword) => "it is close to a common password",
        Some(Warning::StraightRowsOfKeysAreEasyToGuess | Warning::ShortKeyboardPatternsAreEasyToGuess) => {
            "its keys lie side by side on the keyboard"
        }
        Some(
            Warning::RepeatsLikeAaaAreEasyToGuess | Warning::RepeatsLikeAbcAbcAreOnlySlightlyHarderToGuess,
        ) => "it repeats itself",
        Some(Warning::SequencesLikeAbcAreEasyToGuess) => "it is a sequence",
        Some(Warning::RecentYearsAreEasyToGuess | Warning::DatesAreOftenEasyToGuess) => {
            "dates are soon tried"
        }
        Some(
            Warning::NamesAndSurnamesByThemselvesAreEasyToGuess
            | Warning::CommonNamesAndSurnamesAreEasyToGuess,
        ) => "names are soon tried",
        Some(Warning::AWordByItselfIsEasyToGuess) => "a single word is soon tried",
        None => "there is too little in it that cannot be foreseen",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: PasswordPolicy = PasswordPolicy {
        min_length: 8,
        min_score: 3,
    };
    const ONLY_LENGTH: PasswordPolicy = PasswordPolicy {
        min_length: 8,
        min_score: 0,
    };

    fn judge(policy: PasswordPolicy, raw: &str, own_words: &[&str]) -> Result<(), PasswordRefusal> {
        let password = policy.check_text(raw)?;
        let own_words: Vec<String> = own_words.iter().map(|&word| word.to_owned()).collect();
        policy.check_strength(&password, &own_words)
    }

    fn code(outcome: &Result<(), PasswordRefusal>) -> &'static str {
        outcome
            .as_ref()
            .map_or_else(|refusal| refusal.code, |()| "accepted")
    }

    /// REG-02
    #[test]
    fn with_score_0_only_the_length_counts() {
        for accepted in ["abcdefgh", "        ", "😀😀😀😀😀😀😀😀", "password", "12345678"] {
            assert_eq!(judge(ONLY_LENGTH, accepted, &[]), Ok(()), "{accepted:?}");
        }
        for short in ["", "abcdefg", "😀😀😀😀😀😀😀"] {
            let outcome = judge(ONLY_LENGTH, short, &[]);
            assert_eq!(code(&outcome), "too_short");
            assert_eq!(
                outcome.unwrap_err().message,
                "The password must have at least 8 characters."
            );
        }
    }

    #[test]
    fn lengths_are_counted_in_code_points_after_composition() {
        assert_eq!(code(&judge(ONLY_LENGTH, &"é".repeat(128), &[])), "accepted");
        assert_eq!(
            code(&judge(ONLY_LENGTH, &"e\u{301}".repeat(128), &[])),
            "accepted"
        );
        assert_eq!(code(&judge(ONLY_LENGTH, &"e\u{301}".repeat(7), &[])), "too_short");
        assert_eq!(code(&judge(ONLY_LENGTH, &"é".repeat(129), &[])), "too_long");
        assert_eq!(code(&judge(ONLY_LENGTH, &"x".repeat(1 << 20), &[])), "too_long");
    }

    /// REG-11
    #[test]
    fn nul_and_what_is_no_character_are_refused() {
        for bad in [
            "correct\0horse",
            "correct\u{ffff}horse",
            "correct\u{1fffe}horse",
            "correct\u{fdd0}horse",
        ] {
            assert_eq!(code(&judge(ONLY_LENGTH, bad, &[])), "invalid_character");
        }
    }

    /// REG-04
    #[test]
    fn common_passwords_are_refused_with_a_reason() {
        let common = [
            "12345678",
            "123456789",
            "1234567890",
            "password",
            "password1",
            "password123",
            "Password1",
            "Password123",
            "passw0rd",
            "P@ssw0rd",
            "P@ssword1",
            "qwertyuiop",
            "qwerty123",
            "qwerty12345",
            "1q2w3e4r",
            "1q2w3e4r5t",
            "1qaz2wsx",
            "1qaz2wsx3edc",
            "zaq12wsx",
            "zxcvbnm1",
            "asdfghjkl",
            "asdfasdf",
            "iloveyou",
            "iloveyou1",
            "sunshine",
            "princess",
            "football",
            "football1",
            "baseball",
            "superman",
            "starwars",
            "trustno1",
            "welcome1",
            "Welcome123",
            "whatever",
            "computer",
            "michelle",
            "jennifer",
            "letmein1",
            "abcd1234",
            "abc12345",
            "aaaaaaaa",
            "11111111",
            "00000000",
            "88888888",
            "87654321",
            "987654321",
            "11223344",
            "12341234",
            "123123123",
            "147258369",
            "789456123",
            "corvette",
            "mercedes",
            "charlie1",
            "dragon123",
            "monkey123",
            "liverpool",
            "chelsea1",
            "admin123",
            "administrator",
            "changeme",
            "secret123",
            "internet",
            "pokemon1",
            "blink182",
            "manchester",
            "Aa123456",
            "qwer1234",
            "a1b2c3d4",
            "google123",
            "december",
            "november",
            "summer2024",
            "snowball",
            "swordfish",
        ];
        for password in common {
            let outcome = judge(DEFAULT, password, &[]);
            assert_eq!(code(&outcome), "too_weak", "{password} was accepted");
            let message = outcome.unwrap_err().message;
            assert!(
                message.starts_with("The password is too easy to guess: "),
                "{message}"
            );
            assert!(!message.contains(password) || password == "password", "{message}");
        }
    }

    /// REG-04: the product's name, the user's own address and name
    #[test]
    fn the_users_own_words_are_refused() {
        let own = [
            "katharina.winterbottom",
            "wolkenheim",
            "Katharina Élodie Winterbottom",
        ];
        for password in [
            "katharina.winterbottom",
            "Katharina.Winterbottom",
            "katharinawinterbottom",
            "Winterbottom1",
            "winterbottom2024",
            "wolkenheim",
            "Wolkenheim!",
            "mottobretniw",
            "k@tharina.winterb0ttom",
            "stilestile",
        ] {
            let outcome = judge(DEFAULT, password, &own);
            assert_eq!(code(&outcome), "too_weak", "{password} was accepted");
        }
        let message = judge(DEFAULT, "wolkenheim", &own).unwrap_err().message;
        assert!(message.contains("your name, your address"), "{message}");
        let strangers = judge(DEFAULT, "katharina.winterbottom", &["someone", "else"]);
        assert_eq!(code(&strangers), "accepted");
    }

    #[test]
    fn short_own_words_do_not_make_a_good_password_weak() {
        let own = ["a", "b c d e f", "xy", "q.w.e"];
        assert_eq!(judge(DEFAULT, "correct horse battery staple", &own), Ok(()));
        assert_eq!(judge(DEFAULT, "mRt7!xQ2vB", &own), Ok(()));
    }

    #[test]
    fn good_passwords_of_every_alphabet_are_accepted() {
        for password in [
            "correct horse battery staple",
            "пурпурный верблюд едет",
            "紫色的骆驼在跳舞唱歌",
            "🐫🎷🧊🪁🛶🧶🪗🦔🪵🧭",
        ] {
            assert_eq!(judge(DEFAULT, password, &[]), Ok(()), "{password}");
        }
    }
}
