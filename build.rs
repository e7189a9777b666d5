//! Tells cargo what the compiler cannot see: `sqlx::migrate!` reads this folder while compiling.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
