#!/usr/bin/env python3
"""The licence texts of everything that the mount-s3 binary is made of, as one file.

Rust crates that are linked (not what only builds or tests), the C libraries of the AWS Common Runtime with
what they embed, and Rust's standard library. A part without a licence text is an error: it must not be shipped.

Usage: licences.py OUTPUT
"""

import html.parser
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CRT = ROOT / "vendor" / "crt"
TEXT_NAME = re.compile(r"(licen[cs]e|copying|notice|unlicense|copyright|third[-_]party)", re.IGNORECASE)
# jitterentropy is taken under its BSD licence, which is the other choice.
NOT_CHOSEN = {"LICENSE.gplv2"}
# Folders of the C sources whose contents do not reach the binary.
NOT_BUILT = {"tests", "test", "vectors", "docs", "doc", "bindings", "nix"}


class Missing(Exception):
    """Parts that have no licence text."""


class Part:
    """One thing that was made by others: its title, its licence where it names one, its texts."""

    def __init__(self, title, licence, texts):
        self.title = title
        self.licence = licence
        self.texts = [text.strip("\n") for text in texts if text.strip()]


class PlainText(html.parser.HTMLParser):
    """What a browser would show of an HTML page, roughly."""

    BLOCKS = {"p", "h1", "h2", "h3", "h4", "li", "pre", "summary", "div", "br", "tr"}

    def __init__(self):
        super().__init__()
        self.pieces = []
        self.hidden = False

    def handle_starttag(self, tag, attrs):
        self.hidden = tag in {"style", "script", "title"}
        if tag in self.BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag):
        self.hidden = False

    def handle_data(self, data):
        if not self.hidden:
            self.pieces.append(data)

    def text(self):
        return re.sub(r"\n{3,}", "\n\n", "".join(self.pieces))


def read(path):
    return path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").replace("\f", "\n")


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def texts_in(directory):
    """The licence files of one folder; some crates keep them in a folder LICENSES."""
    paths = sorted(path for path in directory.iterdir() if TEXT_NAME.match(path.name))
    for path in paths:
        if path.is_dir() and path.name.lower() in {"license", "licenses", "licence", "licences"}:
            yield from (read(inner) for inner in sorted(path.iterdir()) if inner.is_file())
        elif path.is_file() and path.suffix not in {".rs", ".c", ".h", ".py"} and path.name not in NOT_CHOSEN:
            yield read(path)


def crates():
    """Every crate of a registry that is linked into the binary, or expands into its code."""
    host = re.search(r"^host: (.*)$", output_of("rustc", "-vV"), re.MULTILINE).group(1)
    metadata = json.loads(
        output_of("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host)
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    pending = [name for name in metadata["workspace_members"] if packages[name]["name"] == "mount-s3"]
    linked = set()
    while pending:
        name = pending.pop()
        if name not in linked:
            linked.add(name)
            pending += [
                dependency["pkg"]
                for dependency in nodes[name]["deps"]
                if any(kind["kind"] is None for kind in dependency["dep_kinds"])
            ]
    for package in sorted((packages[name] for name in linked), key=lambda p: (p["name"], p["version"])):
        if package["source"] is None:
            continue  # of this repository, under LICENSE
        directory = pathlib.Path(package["manifest_path"]).parent
        yield Part(f"{package['name']} {package['version']}", package["license"], texts_in(directory))


def opening_comment(path):
    """The first comment of a C file, where single files that a library embeds state their terms."""
    match = re.match(r"\s*/\*(.*?)\*/", read(path), re.DOTALL)
    text = match.group(1) if match else ""
    is_licence = re.search(r"copyright", text, re.IGNORECASE) and re.search(r"licen[cs]e", text, re.IGNORECASE)
    return text if is_licence else ""


def libraries():
    """Every C library, and what its sources hold of others."""
    directories = sorted(path for path in CRT.iterdir() if path.is_dir())
    if not directories:
        raise Missing([f"{CRT}: no C sources there: build first"])
    for library in directories:
        yield Part(library.name, None, texts_in(library))
        for folder in sorted(path for path in library.rglob("*") if path.is_dir()):
            inside = folder.relative_to(library).parts
            if NOT_BUILT.isdisjoint(inside):
                texts = list(texts_in(folder))
                if texts:
                    yield Part(f"{library.name}: {'/'.join(inside)}", None, texts)
        if not list(library.glob("THIRD-PARTY*")):
            for header in sorted(library.glob("source/external/*.h")):
                yield Part(f"{library.name}: source/external/{header.name}", None, [opening_comment(header)])


def standard_library():
    """What Rust's own library is made of, as its toolchain documents it."""
    documents = pathlib.Path(output_of("rustc", "--print", "sysroot").strip()) / "share" / "doc" / "rust"
    page = documents / "COPYRIGHT-library.html"
    if not page.exists():
        raise Missing([f"Rust's standard library: {page} is missing: use a toolchain of rustup"])
    text = PlainText()
    text.feed(read(page))
    licences = [read(documents / "licenses" / f"{name}.txt") for name in ("Apache-2.0", "MIT")]
    version = output_of("rustc", "--version").split()[1]
    return Part(f"Rust standard library {version}", "MIT OR Apache-2.0", [text.text(), *licences])


def render(parts):
    """A list of the parts with the numbers of their texts, then each text once."""
    numbers = {}
    lines = [
        "mount-s3 is licensed under the Apache License 2.0 (LICENSE). The binary holds the work of others, listed",
        "here, each under the texts whose numbers follow its name.",
        "",
    ]
    for part in parts:
        used = [numbers.setdefault(text, len(numbers) + 1) for text in part.texts]
        licence = f" ({part.licence})" if part.licence else ""
        lines.append(f"{part.title}{licence}: {', '.join(map(str, used))}")
    for text, number in numbers.items():
        lines += ["", "=" * 100, f"Text {number}", "=" * 100, "", text]
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        parts = [*crates(), *libraries(), standard_library()]
        bare = [f"{part.title}: no licence text in its package" for part in parts if not part.texts]
        if bare:
            raise Missing(bare)
    except Missing as missing:
        sys.exit("".join(f"error: {line}\n" for line in missing.args[0]).rstrip())
    pathlib.Path(sys.argv[1]).write_text(render(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
