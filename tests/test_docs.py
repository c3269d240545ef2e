"""Pages and docstrings hold together: what they name, link to or tell to type is there."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from flows.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", h.replace("`", "")).strip().lower() for h in heads)
    return {h.replace(" ", "-") for h in plain}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_the_index_lists_every_page_and_the_readme_leads_to_it() -> None:
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text()))
    assert {p.name for p in (ROOT / "docs").glob("*.md")} - {"README.md"} <= listed
    assert "docs/README.md" in LINK.findall((ROOT / "README.md").read_text())


def test_every_picture_and_measurement_is_used_by_a_page() -> None:
    linked = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text())
    }
    folders = (ROOT / "docs" / "images", ROOT / "docs" / "measurements")
    assert {file for folder in folders for file in folder.iterdir()} <= linked


@pages
def test_every_command_and_its_options_exist(page: Path) -> None:
    unknown = []
    for line in re.findall(r"\bsentinel [a-z][^`\n]*", _code(page).replace("\\\n", " ")):
        command, words = get_command(app), line.split()[1:]
        while command is not None and hasattr(command, "commands") and words:
            command = command.commands.get(words.pop(0))
        if command is None:
            unknown.append(line)
            continue
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        unknown += [f"{line}: {o}" for o in re.findall(r"--[a-z][a-z-]+", line) if o not in known]
    assert not unknown


@pages
def test_every_target_of_make_exists(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"(?:^|`)make ([a-z-]+)", _code(page), re.MULTILINE))
    assert used <= known


def _code(page: Path) -> str:
    """Blocks and spans of code, a line each."""
    text = page.read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"(?:^ {3,}.*\n)+", text, re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return "\n".join([*blocks, *(f"`{' '.join(s.split())}`" for s in spans)])


@pytest.mark.parametrize("package", ["tasks", "flows"])
def test_the_map_of_a_package_names_every_module_once(package: str) -> None:
    folder = ROOT / package
    there = {p.stem for p in folder.glob("*.py")} | {
        p.parent.name for p in folder.glob("*/__init__.py")
    }
    named = re.findall(r"``(\w+)``", (folder / "__init__.py").read_text())
    assert sorted(named) == sorted(there - {"__init__"})


def test_docstrings_name_what_there_is() -> None:
    """References such as :func:`tasks.storage.keys.digest`, in full or within the same module."""
    named = re.compile(r":(?:func|class|mod|data|meth):`~?([\w.]+)`")
    sources = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ("entropy", "estimators", "tasks", "flows")
        for path in (ROOT / package).rglob("*.py")
    }
    there = {module: _names(path) for module, path in sources.items()}
    unknown = []
    for module, path in sources.items():
        for name in named.findall(path.read_text()):
            first, _, _ = name.partition(".")
            full = name if first in ("entropy", "estimators", "tasks", "flows") else ""
            home = max((m for m in there if f"{full}.".startswith(f"{m}.")), default="", key=len)
            if full and not (full == home or full.removeprefix(f"{home}.") in there.get(home, ())):
                unknown.append(f"{path.name}: {name}")
            if not full and "." not in name and name not in there[module] | _BUILT_IN:
                unknown.append(f"{path.name}: {name}")
    assert not unknown


_BUILT_IN = {"ValueError"}


def _names(path: Path) -> set[str]:
    """What a module defines or imports, and the members of its classes, also by themselves."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            if isinstance(node, ast.ClassDef):
                inside = (n.name for n in node.body if isinstance(n, ast.FunctionDef))
                found |= {f"{node.name}.{n}" for n in inside}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(a.asname or a.name).split(".")[0] for a in node.names}
    return found
