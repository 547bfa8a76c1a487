# The steps of CI (.ci/steps), one recipe each, and what else helps. `just` alone lists them. You need none of them to
# build or use pgfox.

_default:
    @{{ just_executable() }} --list --unsorted

# Everything that CI checks; installs what is missing
ci:
    .ci/run

# Formatting, without changing anything
fmt:
    .ci/steps/fmt

# Lints; a warning is an error
clippy:
    .ci/steps/clippy

# Documentation of the crates; a warning is an error
doc:
    .ci/steps/doc

# All tests, or those that match: `just test tls`
test *args:
    .ci/steps/test {{ args }}

# The tests of the service through PgBouncer
pooler:
    .ci/steps/pooler

# Two servers under random faults for a minute, or longer: `just soak --time 30m --seed 7`
soak *args:
    .ci/steps/soak {{ args }}

# The first command of the README
demo:
    .ci/steps/demo

# Licences and sources of the dependencies (cargo install cargo-deny --locked)
deny:
    .ci/steps/deny

# Known vulnerabilities of the dependencies
advisories:
    cargo deny check advisories

# The packages of the crates
publish:
    .ci/steps/publish

# Lint, format and compatibility of the API, and whether the generated code is fresh
proto:
    .ci/steps/proto

# Generate the code of the clients
generate:
    clients/generate.sh

# Debian packages and Go tools that the next three need
setup:
    .ci/steps/packages
    .ci/steps/tools

# One story in every language, or in some: `just clients go java`
clients *languages:
    .ci/steps/clients {{ languages }}

# Execute the documentation, or some pages: `just docs README.md`
docs *pages:
    .ci/steps/docs {{ pages }}

# The image, the chart and the rest of deploy/
deploy:
    .ci/steps/deploy

# The examples (`just docs` runs them too), against a server at 127.0.0.1:50051 or PGFOX_SERVER
examples:
    examples/run.sh
