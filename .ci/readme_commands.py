"""Print the shell commands of a Markdown file that are marked for CI: the blocks after ``<!-- ci: NAME -->``."""

import re
import sys
from pathlib import Path


def commands(text: str, name: str) -> str:
    """Return the commands of the fenced blocks that follow such a marker, in their order."""
    blocks = re.findall(rf"<!-- ci: {re.escape(name)} -->\s*```(?:sh|bash)\n(.*?)```", text, re.DOTALL)
    if not blocks:
        sys.exit(f"no block is marked `ci: {name}`")
    return "".join(blocks)


if __name__ == "__main__":
    sys.stdout.write(commands(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]))
