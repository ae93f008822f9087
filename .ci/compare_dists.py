"""Check that an sdist and a wheel hold the same package, with zoo.yaml, every config and the demo's weights."""

import re
import sys
import tarfile
import zipfile


def of_sdist(path: str) -> dict[str, bytes]:
    """Give the package's files of an sdist by their place in the package."""
    files = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            name = member.name.partition("/")[2]
            if member.isfile() and (name.startswith("bdd100k_zoo/") or name == "zoo.yaml"):
                stream = archive.extractfile(member)
                files["bdd100k_zoo/zoo.yaml" if name == "zoo.yaml" else name] = stream.read() if stream else b""
    return files


def of_wheel(path: str) -> dict[str, bytes]:
    """Give the package's files of a wheel."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.startswith("bdd100k_zoo/")}


if __name__ == "__main__":
    source, built = of_sdist(sys.argv[1]), of_wheel(sys.argv[2])
    differing = [name for name in sorted({*source, *built}) if source.get(name) != built.get(name)]
    if differing:
        sys.exit(f"sdist and wheel differ in {', '.join(differing)}")
    zoo, demo = (built[f"bdd100k_zoo/{name}"].decode() for name in ("zoo.yaml", "demo/zoo.yaml"))
    listed = [f"configs/det/{name}" for name in re.findall(r"^    config: (\S+)$", zoo + demo, re.MULTILINE)]
    listed += [f"demo/{name}" for name in re.findall(r"^      address: (\S+)$", demo, re.MULTILINE)]
    absent = [name for name in listed if f"bdd100k_zoo/{name}" not in built]
    if absent or len(listed) < 3:
        sys.exit(f"the wheel lacks files that its zoo files list: {', '.join(absent) or 'they list none'}")
    sys.stdout.write(f"{len(built)} files, the same in both\n")
