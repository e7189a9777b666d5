//! Hashes of every kind, from elsewhere and from here.

use super::*;

const PASSWORD: &str = "pässwörd";

/// Made by other programs: Python's hashlib, perl's crypt (libxcrypt).
const FOREIGN: [&str; 7] = [
    "$pbkdf2-sha256$i=1000,l=32$AAECAwQFBgcICQoLDA0ODw$L1aYbGjzdoPwxPhGrTdCzJAIXgv98gXX9F7Efjyq3Og",
    "$pbkdf2-sha512$i=1000$AAECAwQFBgcICQoLDA0ODw$tesGdwmZwygAGYLzLiZnuLe7u7U7QwD64kd8Dxsmq1czniS4pZHyb0gH6ZCWHMgN1oFJ7mpRl1LVshQSj7oYVw",
    "$pbkdf2$1000$AAECAwQFBgcICQoLDA0ODw$lfzT7JP5RoxTX3QxduxJ5Hbc3pg",
    "$pbkdf2-sha256$1000$................$i8PHuMflCUu1FoGQMyB1ofXzR3.vbDfy8/gUJmLmwyk",
    "$scrypt$ln=10,r=8,p=2$AAECAwQFBgcICQoLDA0ODw$TkT56NiPmTdUAf+uNExI5vcKrgkon8n1xe63htB5qWo",
    "$2b$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G",
    "$2y$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G",
];

/// From the reference implementation's own tests; the password is "password".
const ARGON2: [&str; 4] = [
    "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
    "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
];

/// Made with Python's hashlib and perl's crypt as Django and Werkzeug make and write them.
const SPELT_DIFFERENTLY: [&str; 6] = [
    "pbkdf2_sha256$1000$saltSALT$GvkKjw7ULO0YoTINQVeRCHCvGRxYo1JHN8GEYHBzrhM=",
    "pbkdf2_sha1$1000$saltSALT$tvxzpm36Nn3SVT2NwXd7iGF1oXI=",
    "scrypt$1024$saltSALT$8$1$j4UtyQSN5XRbe3c3kOthShbzoMLUgmwOW9s3VWt1RW7DbylzRv1ufsjjkulgtZHvG6kMAc/xlK+axr8yPRDNkg==",
    "pbkdf2:sha256:1000$saltSALT$1af90a8f0ed42ced18a1320d4157910870af191c58a3524737c184607073ae13",
    "scrypt:1024:8:1$saltSALT$8f852dc9048de5745b7b773790eb614a16f3a0c2d4826c0e5bdb37556b75456ec36f297346fd6e7ec8e392e960b591ef1ba90c01cff194af9ac6bf323d10cd92",
    "bcrypt_sha256$$2b$05$abcdefghijklmnopqrstuuFqKZfKbV8Bt0NaNqMDqaKN5Biompdw6",
];

fn accept(stored: &str) -> Result<(), RefusedHash> {
    import(stored).map(drop)
}

#[test]
fn what_other_programs_spell_differently_is_stored_so_that_it_is_verified() {
    let wrapped = [format!("bcrypt${}", FOREIGN[5]), format!("argon2{}", ARGON2[2])];
    assert_eq!(import(&wrapped[0]).as_deref(), Ok(FOREIGN[5]));
    assert_eq!(import(&wrapped[1]).as_deref(), Ok(ARGON2[2]));
    for spelt in SPELT_DIFFERENTLY {
        let stored = import(spelt).unwrap();
        assert!(verify(&stored, PASSWORD), "{spelt}");
        assert!(!verify(&stored, "another"), "{spelt}");
        assert_eq!(
            import(&stored).as_deref(),
            Ok(stored.as_str()),
            "stored once more"
        );
    }
    for unknown in [
        "pbkdf2_md5$1000$salt$GvkKjw7ULO0YoTINQVeRCHCvGRxYo1JHN8GEYHBzrhM=",
        "pbkdf2_sha256$x$salt$GvkKjw7ULO0YoTINQVeRCHCvGRxYo1JHN8GEYHBzrhM=",
        "pbkdf2_sha256$1000$$GvkKjw7ULO0YoTINQVeRCHCvGRxYo1JHN8GEYHBzrhM=",
        "scrypt$1000$salt$8$1$j4UtyQSN5XRbe3c3kOthShbzoMLUgmwOW9s3VWt1RW4=",
        "pbkdf2:sha256:1000$salt$1af90",
        "pbkdf2:sha256:1000$salt$é",
        "bcrypt_sha256$2b$05$abcdefghijklmnopqrstuuFqKZfKbV8Bt0NaNqMDqaKN5Biompdw6",
        "argon2",
        "bcrypt$",
        "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
    ] {
        assert_eq!(accept(unknown), Err(RefusedHash::Unknown), "{unknown}");
    }
    assert_eq!(
        accept("pbkdf2_sha256$2000001$salt$GvkKjw7ULO0YoTINQVeRCHCvGRxYo1JHN8GEYHBzrhM="),
        Err(RefusedHash::TooCostly)
    );
    assert_eq!(
        accept(&SPELT_DIFFERENTLY[5].replace("$05$", "$15$")),
        Err(RefusedHash::TooCostly)
    );
}

fn verify(stored: &str, password: &str) -> bool {
    StoredHash::parse(stored)
        .unwrap()
        .verify(password.as_bytes(), &mut Memory::default())
}

#[test]
fn hashes_made_by_other_programs_are_verified_and_are_all_weak() {
    let foreign = FOREIGN.map(|stored| (stored, PASSWORD));
    for (stored, password) in foreign
        .into_iter()
        .chain(ARGON2.map(|stored| (stored, "password")))
    {
        assert_eq!(accept(stored), Ok(()), "{stored}");
        assert!(verify(stored, password), "{stored}");
        assert!(!verify(stored, "another"), "{stored}");
        assert!(!verify(stored, ""), "{stored}");
        assert!(!StoredHash::parse(stored).unwrap().is_current(), "{stored}");
    }
}

#[test]
fn what_is_made_today_is_current_salted_and_verified() {
    let mut memory = Memory::default();
    let made = make(PASSWORD.as_bytes(), &mut memory).unwrap();
    assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
    assert_ne!(made, make(PASSWORD.as_bytes(), &mut memory).unwrap());
    let stored = StoredHash::parse(&made).unwrap();
    assert!(stored.is_current());
    assert!(stored.verify(PASSWORD.as_bytes(), &mut memory));
    for wrong in ["pässwör", "pässwördd", "Pässwörd", "passwort", ""] {
        assert!(!stored.verify(wrong.as_bytes(), &mut memory), "{wrong}");
    }
}

#[test]
fn one_memory_serves_hashes_of_every_size_in_any_order() {
    let mut memory = Memory::default();
    for _ in 0..2 {
        for stored in ARGON2 {
            assert!(
                StoredHash::parse(stored)
                    .unwrap()
                    .verify(b"password", &mut memory),
                "{stored}"
            );
        }
    }
    assert!(
        memory.0.len() <= MEMORY_KIB as usize,
        "a large hash left {} KiB behind",
        memory.0.len()
    );
}

#[test]
fn the_dummy_costs_what_a_hash_of_today_costs_and_matches_nothing() {
    let dummy = StoredHash::dummy().unwrap();
    assert!(dummy.is_current());
    assert!(!dummy.verify(b"", &mut Memory::default()));
}

#[test]
fn bcrypt_sees_72_bytes() {
    let stored = "$2y$05$abcdefghijklmnopqrstuujf8SX2ahXLwp9w/B.Y5XdysS6yR576q"; // of 80 times "x"
    assert!(verify(stored, &"x".repeat(80)));
    assert!(verify(stored, &"x".repeat(72)));
    assert!(!verify(stored, &"x".repeat(71)));
}

#[test]
fn a_hash_that_costs_more_than_the_caps_is_refused_and_one_at_the_caps_is_not() {
    let tail = "AAECAwQFBgcICQoLDA0ODw$L1aYbGjzdoPwxPhGrTdCzJAIXgv98gXX9F7Efjyq3Og";
    let bcrypt = |cost| format!("$2b${cost}$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G");
    for accepted in [
        format!("$argon2id$v=19$m=65536,t=10,p=4${tail}"),
        format!("$scrypt$ln=16,r=8,p=1${tail}"),
        format!("$scrypt$ln=13,r=8,p=10${tail}"),
        format!("$pbkdf2-sha256$i=2000000${tail}"),
        bcrypt("14"),
    ] {
        assert_eq!(accept(&accepted), Ok(()), "{accepted}");
    }
    for costly in [
        format!("$argon2id$v=19$m=65537,t=1,p=1${tail}"),
        format!("$argon2id$v=19$m=19456,t=11,p=1${tail}"),
        format!("$argon2d$m=4294967295,t=4294967295,p=1${tail}"),
        format!("$scrypt$ln=17,r=8,p=1${tail}"),
        format!("$scrypt$ln=63,r=4294967295,p=1${tail}"),
        format!("$scrypt$ln=300,r=8,p=1${tail}"),
        format!("$scrypt$ln=10,r=8,p=4294967295${tail}"),
        format!("$pbkdf2-sha256$i=2000001${tail}"),
        format!("$pbkdf2$i=1000001${tail}"), // 32 bytes are two blocks of SHA-1
        bcrypt("15"),
        bcrypt("31"),
    ] {
        assert_eq!(accept(&costly), Err(RefusedHash::TooCostly), "{costly}");
    }
}

#[test]
fn what_is_no_known_hash_is_refused() {
    let tail = "AAECAwQFBgcICQoLDA0ODw$L1aYbGjzdoPwxPhGrTdCzJAIXgv98gXX9F7Efjyq3Og";
    for unknown in [
        String::new(),
        "!".into(),
        "$".repeat(100),
        "5f4dcc3b5aa765d61d8327deb882cf99".into(),
        "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0".into(),
        "$2x$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G".into(),
        "$2b$03$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G".into(),
        "$2b$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8é".into(),
        format!("$argon2xd$v=19$m=19456,t=2,p=1${tail}"),
        format!("$argon2id$v=20$m=19456,t=2,p=1${tail}"),
        format!("$argon2id$v=19$m=19456,t=2${tail}"),
        format!("$argon2id$v=19$m=19456,t=2,p=1,keyid=AAAA${tail}"),
        format!("$argon2id$v=19$m=+19456,t=2,p=1${tail}"),
        format!("$argon2id$v=19$m=19456,t=0,p=1${tail}"),
        format!("$argon2id$v=19$m=19456,t=2,p=0${tail}"),
        format!("$argon2id$v=19$m=,t=2,p=1${tail}"),
        "$argon2id$v=19$m=19456,t=2,p=1$AAAA$L1aYbGjzdoPwxPhGrTdCzJAIXgv98gXX9F7Efjyq3Og".into(),
        "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$AAAA".into(),
        "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw".into(),
        format!("$scrypt$ln=10,r=0,p=1${tail}"),
        format!("$pbkdf2-sha256$i=0${tail}"),
        format!("$pbkdf2-md5$i=1000${tail}"),
        format!("$pbkdf2-sha256$i=1000,l=64${tail}"),
    ] {
        assert_eq!(accept(&unknown), Err(RefusedHash::Unknown), "{unknown}");
    }
}
