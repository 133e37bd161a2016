# Why: every script works from a bare clone: it makes the project's own environment the first time it is needed.
# Sourced, not run.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=.venv

ready() {
    stamp=$venv/.ready
    if [ ! -f "$stamp" ] || [ requirements-dev.lock -nt "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            echo "Python 3.11 or later is needed (PYTHON=/path/to/python3 chooses one)" >&2
            exit 1
        }
        echo "setting up $venv (once; takes about a minute)" >&2
        "$python" -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
        "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
        touch "$stamp"
    fi
}
