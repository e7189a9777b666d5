# Short names for what one does all day. `just` lists them; nothing here is needed to build or test.

_default:
    @just --list

# Serve with a developer's defaults.
run *arguments:
    cargo run -- {{arguments}}

# Every test; `just test --long` for the full counts.
test *arguments:
    scripts/test {{arguments}}

# What a change must pass.
ci:
    .ci/run

# Format, and what the compiler's friends say.
lint:
    cargo fmt
    cargo clippy --all-targets -- -D warnings

# What the configuration comes to.
check *arguments:
    cargo run --quiet -- check {{arguments}}

# stile beside its peers, in one table; `just bench --quick` takes some ten minutes.
bench *arguments:
    bench/run {{arguments}}

# The functions that every request runs through, one by one.
bench-hot *arguments:
    cargo bench --bench hot -- {{arguments}}

# Licences, advisories and bans of the dependencies (cargo install cargo-deny).
deny:
    cargo deny check
