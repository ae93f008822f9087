#!/usr/bin/env bash
# The core package installs and lists on one Python, and [predict] runs the demo there or at least resolves.
# Usage: smoke.sh 3.12 WORK demo|list
set -euo pipefail
version=$1 work=$2 reach=$3
find_python() {
    for candidate in "python$version" "$HOME"/.pyenv/versions/"$version".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}
python=$(find_python)
if [ -z "$python" ]; then
    echo "Python $version: SKIPPED, not installed here"
    exit 0
fi
"$python" -m venv "$work/smoke-$version"
"$work/smoke-$version/bin/pip" install bdd100k-zoo
"$work/smoke-$version/bin/bdd100k-zoo" list --quiet | wc -l
if [ "$reach" = demo ]; then
    "$work/smoke-$version/bin/pip" install 'bdd100k-zoo[predict]'
    "$work/smoke-$version/bin/pip" check
    "$work/smoke-$version/bin/bdd100k-zoo" demo --quiet
    rm -rf "$work/smoke-$version"
    echo "Python $version: core installs and lists, [predict] runs the demo"
else
    "$work/smoke-$version/bin/pip" install --dry-run 'bdd100k-zoo[predict]'
    echo "Python $version: core installs and lists, [predict] resolves"
fi
