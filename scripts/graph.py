#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print the targets of the package by wing and level, their imports, and cycles between folders.

    scripts/graph.py            print
    scripts/graph.py --write    print, and write the graph to Docs/Architecture.md
    scripts/graph.py --check    print nothing; fail if the graph in Docs/Architecture.md is not the current one, or if
                              folders of one target need each other

Edges are the `import` statements of the Swift files. A level is the longest chain of imports below a target. The drawn
graph leaves out an edge from A to C if a path from A to C remains, and the benchmarks.

Cycles between the folders inside one target are found by words: folder A uses folder B if a file of A contains the name
of a type, or a call of a global function, that only B declares. Comments and string literals are ignored. Members of
extensions are not seen, so the scan can miss an edge; two things with one name can make it report an edge too many.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "Docs" / "Architecture.md"
BEGIN, END = "<!-- graph -->", "<!-- end of graph -->"
WINGS = ["App", "Method", "Models", "Compression", "Engine", "System"]

IMPORT = re.compile(
    r"^\s*(?:@\w+\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+"
    r"(?:(?:struct|class|enum|protocol|typealias|func|let|var)\s+)?(\w+)", re.MULTILINE)
IGNORED = re.compile(r'//[^\n]*|/\*.*?\*/|"""(?:.|\n)*?"""|"(?:[^"\\\n]|\\.)*"', re.DOTALL)
DECLARATION = re.compile(
    r"^(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|final|indirect|nonisolated)\s+)*"
    r"(struct|class|enum|protocol|actor|typealias|func)\s+(\w+)", re.MULTILINE)
CALL = re.compile(r"(?<![.\w])(?<!func )(?<!case )(\w+)(?=\()")


class Target:
    def __init__(self, wing, folder):
        self.wing = wing
        self.name = folder.name
        self.folder = folder
        self.files = {
            path: IGNORED.sub(" ", path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.swift"))}
        self.imports = set()


def load_targets():
    """All targets by name, with imports of other targets of the package."""
    folders = [(wing.name, target) for wing in sorted((ROOT / "Sources").iterdir()) if wing.name in WINGS
               for target in sorted(wing.iterdir()) if target.is_dir()]
    folders += [("Benchmarks", path) for path in sorted((ROOT / "Benchmarks").iterdir())
                if path.is_dir() and path.name != "pytorch"]
    targets = {folder.name: Target(wing, folder) for wing, folder in folders}
    for target in targets.values():
        for text in target.files.values():
            target.imports |= {name for name in IMPORT.findall(text) if name in targets}
        target.imports.discard(target.name)
    return targets


def level(name, targets, path=()):
    """The longest chain of imports below a target; exits if the imports form a cycle."""
    if name in path:
        sys.exit("graph: cycle of imports: " + " -> ".join(path[path.index(name):] + (name,)))
    below = [level(other, targets, path + (name,)) for other in targets[name].imports]
    return 1 + max(below) if below else 0


def reduced(targets):
    """The imports without those that follow from others."""
    def reachable(name):
        found = set()
        for other in targets[name].imports:
            found |= {other} | reachable(other)
        return found

    below = {name: reachable(name) for name in targets}
    return {
        name: {other for other in target.imports
               if not any(other in below[third] for third in target.imports - {other})}
        for name, target in targets.items()}


def mermaid(targets):
    """The graph of the targets below `Sources/` in Mermaid's notation."""
    lines = ["```mermaid", "graph TD"]
    for wing in WINGS:
        lines.append(f"    subgraph {wing}")
        lines += [f"        {name}" for name, target in sorted(targets.items()) if target.wing == wing]
        lines.append("    end")
    for name, others in sorted(reduced(targets).items()):
        if targets[name].wing in WINGS and others:
            lines.append(f"    {name} --> " + " & ".join(sorted(others)))
    return "\n".join(lines + ["```"])


def folder_edges(target):
    """Uses between the direct subfolders of a target, as {(using, used): words}."""
    def folder(path):
        parts = path.relative_to(target.folder).parts
        return parts[0] if len(parts) > 1 else "."

    declared = defaultdict(set)
    words = defaultdict(set)
    for path, text in target.files.items():
        for kind, name in DECLARATION.findall(text):
            declared[name + "()" if kind == "func" else name].add(folder(path))
        words[folder(path)] |= set(re.findall(r"\b\w+\b", text)) | {name + "()" for name in CALL.findall(text)}
    edges = defaultdict(set)
    for name, folders in declared.items():
        if len(folders) == 1:
            (owner,) = folders
            for user, used in words.items():
                if user != owner and name in used:
                    edges[user, owner].add(name)
    return edges


def components(edges):
    """The strongly connected components of more than one node."""
    nodes = {node for edge in edges for node in edge}
    reach = {node: {other for user, other in edges if user == node} for node in nodes}
    for middle in nodes:
        for node in nodes:
            if middle in reach[node]:
                reach[node] |= reach[middle]
    found = {frozenset(other for other in nodes if other in reach[node] and node in reach[other]) | {node}
             for node in nodes}
    return sorted(sorted(component) for component in found if len(component) > 1)


def folder_cycles(targets):
    """Folders that need each other, as pairs of a target's name and the names of its folders."""
    return [(name, component) for name, target in sorted(targets.items())
            for component in components(folder_edges(target))]


def report(targets):
    levels = {name: level(name, targets) for name in targets}
    print("targets by wing: level, name, Swift files, imports")
    for wing in WINGS + ["Benchmarks"]:
        print(f"{wing}")
        for name, target in sorted(targets.items(), key=lambda pair: (levels[pair[0]], pair[0])):
            if target.wing == wing:
                imports = ", ".join(sorted(target.imports)) or "-"
                print(f"  {levels[name]:2}  {name:18} {len(target.files):3}  {imports}")
    swift = sum(len(target.files) for target in targets.values())
    edges = sum(len(target.imports) for target in targets.values())
    print(f"{len(targets)} targets, {edges} edges, {swift} Swift files")
    print("\ncycles between targets: none")

    print("\ncycles between folders of one target (by names of types and functions)")
    cycles = folder_cycles(targets)
    for name, component in cycles:
        print(f"  {name}: " + " <-> ".join(component))
        for (user, owner), words in sorted(folder_edges(targets[name]).items()):
            if user in component and owner in component:
                print(f"    {user} -> {owner}: {', '.join(sorted(words)[:6])}")
    if not cycles:
        print("  none")

    print("\nfiles that import ShapesWorld")
    for name, target in sorted(targets.items()):
        for path, text in target.files.items():
            if name != "ShapesWorld" and "ShapesWorld" in IMPORT.findall(text):
                print(f"  {path.relative_to(ROOT)}")


def main(arguments):
    targets = load_targets()
    document = DOCUMENT.read_text(encoding="utf-8")
    before, rest = document.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    current = f"{before}{BEGIN}\n{mermaid(targets)}\n{END}{after}"
    if "--check" in arguments:
        if current != document:
            sys.exit("Docs/Architecture.md: the graph is not current; run `make graph`")
        if cycles := [f"{name}: " + " <-> ".join(folders) for name, folders in folder_cycles(targets)]:
            sys.exit("folders that need each other; run `make graph` for the names:\n" + "\n".join(cycles))
        return
    report(targets)
    if "--write" in arguments and current != document:
        DOCUMENT.write_text(current, encoding="utf-8")
        print("\nwrote the graph to Docs/Architecture.md")


if __name__ == "__main__":
    main(sys.argv[1:])
