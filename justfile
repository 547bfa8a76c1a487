# The steps of CI, one recipe each. `just` alone lists them; none of them is needed to build or use pgfox.

_default:
    @{{ just_executable() }} --list --unsorted

# Everything CI checks
ci: fmt clippy doc test demo deny proto clients docs deploy

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

# Lint, format and compatibility of the API, and whether the generated code is fresh (npx comes with Node.js; or install buf)
proto:
    npx --yes @bufbuild/buf@1.75.0 lint
    npx --yes @bufbuild/buf@1.75.0 format --diff --exit-code
    npx --yes @bufbuild/buf@1.75.0 breaking --against proto/released.binpb
    clients/generate.sh --check

# Generate the code of the clients
generate:
    clients/generate.sh

# One story in every language, or in some: `just clients go java`
clients *languages:
    tests/clients/run.sh {{ languages }}

# Execute the documentation, or some pages: `just docs README.md`
docs *pages:
    cargo build --release
    python3 -m unittest discover tests/docs
    tests/docs/run.py {{ pages }}

# The image, the chart and the rest of deploy/
deploy:
    cargo build --release
    tests/deploy/run.sh

# The examples (`just docs` runs them too), against a server at 127.0.0.1:50051 or PGFOX_SERVER
examples:
    examples/run.sh
