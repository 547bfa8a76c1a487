# The steps of CI, one recipe each. `just` alone lists them; none of them is needed to build or use pgfox.

_default:
    @{{ just_executable() }} --list --unsorted

# Everything CI checks
ci: fmt clippy doc test demo deny proto

# Formatting, without changing anything
fmt:
    cargo fmt --all --check

# Lints; a warning is an error
clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# Documentation; a warning is an error
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# All tests, or those that match: `just test tls`
test *args:
    cargo test --workspace {{ args }}

# The tutorial's walk on the private Postgres
demo:
    cargo run --release --bin pgfox-server -- demo --exit

# Licences and sources of the dependencies (cargo install cargo-deny --locked)
deny:
    cargo deny check bans licenses sources

# Known vulnerabilities of the dependencies
advisories:
    cargo deny check advisories

# Lint and format of the API (npx comes with Node.js; or install buf)
proto:
    npx --yes @bufbuild/buf@1 lint
    npx --yes @bufbuild/buf@1 format --diff --exit-code
