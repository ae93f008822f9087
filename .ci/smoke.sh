#!/usr/bin/env bash
# The core package installs and lists on one Python, and [predict] resolves there. Usage: smoke.sh 3.12 WORK
set -euo pipefail
version=$1 work=$2
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
"$work/smoke-$version/bin/pip" install --dry-run 'bdd100k-zoo[predict]'
echo "Python $version: core installs and lists, [predict] resolves"
