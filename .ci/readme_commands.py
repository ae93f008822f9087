"""Print the shell commands of one marked block of a Markdown file: the block after ``<!-- ci: NAME -->``."""

import re
import sys
from pathlib import Path


def commands(text: str, name: str) -> str:
    """Return the commands of the fenced block that follows the marker."""
    blocks = re.findall(rf"<!-- ci: {re.escape(name)} -->\s*```(?:sh|bash)\n(.*?)```", text, re.DOTALL)
    if len(blocks) != 1:
        sys.exit(f"expected one block marked `ci: {name}`, found {len(blocks)}")
    return str(blocks[0])


if __name__ == "__main__":
    sys.stdout.write(commands(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]))
