"""Check that an sdist and a wheel hold the same package, with zoo.yaml and every config."""

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
    configs = [name for name in built if name.endswith("_det_bdd100k.py")]
    if len(configs) != 25 or "bdd100k_zoo/zoo.yaml" not in built:
        sys.exit(f"expected zoo.yaml and 25 configs in the wheel, found {len(configs)} configs")
    sys.stdout.write(f"{len(built)} files, the same in both\n")
